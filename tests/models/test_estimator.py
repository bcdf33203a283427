"""What a model takes and gives is told from the fitted object."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from zeroflow.models.estimator import Estimator


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return pd.DataFrame({"delay": [1.0, 40.0, 3.0, 50.0] * 10, "carrier": ["AA", "UA", "AA", "UA"] * 10})


LATE = [0, 1, 0, 1] * 10


def described(tensors: Any) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(tensor.name, tensor.datatype, tensor.shape) for tensor in tensors]


def test_classifier_has_one_matrix_in_and_probabilities_out(classifier: Any) -> None:
    model = Estimator.of(classifier, "0")
    assert described(model.inputs) == [("input-0", "FP64", (-1, 4))]
    assert described(model.outputs) == [("predict", "INT64", (-1,)), ("predict_proba", "FP64", (-1, 3))]
    assert not model.takes_missing


def test_regressor_has_no_probabilities() -> None:
    model = Estimator.of(LinearRegression().fit([[1.0, 2.0], [3.0, 5.0]], [1.0, 2.0]), "0")
    assert described(model.outputs) == [("predict", "FP64", (-1,))]


def test_regressor_of_two_targets_says_so() -> None:
    forest = RandomForestRegressor(n_estimators=2).fit([[1.0], [2.0]], [[1.0, 2.0], [3.0, 4.0]])
    assert described(Estimator.of(forest, "0").outputs) == [("predict", "FP64", (-1, 2))]


@pytest.mark.parametrize("columns", [["carrier"], [1], "carrier-slice"], ids=["name", "position", "slice"])
def test_text_columns_are_found_behind_a_column_transformer(flights: pd.DataFrame, columns: Any) -> None:
    chosen = slice(1, 2) if columns == "carrier-slice" else columns
    encode = ColumnTransformer([("text", OneHotEncoder(), chosen)], remainder="passthrough")
    model = Estimator.of(make_pipeline(encode, LogisticRegression()).fit(flights, LATE), "0")
    assert model.text_columns == {"carrier"}
    assert described(model.inputs) == [("delay", "FP64", (-1, 1)), ("carrier", "BYTES", (-1, 1))]
    rows = np.array([[45.0, "UA"], [2.0, "AA"]], dtype=object)
    assert model.call("predict", rows).tolist() == [1, 0]


def test_boosting_on_categories_of_a_frame_takes_their_names(flights: pd.DataFrame) -> None:
    typed = flights.astype({"carrier": "category"})
    model = Estimator.of(HistGradientBoostingClassifier(min_samples_leaf=2).fit(typed, LATE), "0")
    assert model.text_columns == {"carrier"}
    assert model.takes_missing
    assert model.call("predict", np.array([[45.0, "UA"], [2.0, "AA"]], dtype=object)).tolist() == [1, 0]


def test_plain_estimator_fitted_on_a_frame_needs_no_frame(flights: pd.DataFrame) -> None:
    model = Estimator.of(HistGradientBoostingClassifier(min_samples_leaf=2).fit(flights[["delay"]], LATE), "0")
    assert (model.columns, model.needs_frame) == (("delay",), False)
    assert model.call("predict", np.array([[45.0]])).tolist() == [1]  # and no warning about feature names


def test_pipeline_fitted_on_a_frame_gets_a_frame(flights: pd.DataFrame) -> None:
    scale = ColumnTransformer([("numbers", StandardScaler(), ["delay"])])
    model = Estimator.of(make_pipeline(scale, LogisticRegression()).fit(flights[["delay"]], LATE), "0")
    assert model.needs_frame
    assert model.call("predict", np.array([[45.0], [1.0]])).tolist() == [1, 0]


def test_text_model_takes_strings() -> None:
    model = Estimator.of(make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(["good", "bad"], ["p", "n"]), "0")
    assert described(model.inputs) == [("input-0", "BYTES", (-1,))]
    assert described(model.outputs)[0] == ("predict", "BYTES", (-1,))
    assert model.call("predict", np.array(["good"], dtype=object)).tolist() == ["p"]
