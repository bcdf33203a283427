"""Models of several shapes behind a real predictor, and models that cannot be served."""

import os
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

DEADLINE_S = 60.0
LATE = [0, 1, 0, 1] * 10


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    return pd.DataFrame({"delay": [1.0, 40.0, 3.0, 50.0] * 10, "carrier": ["AA", "UA", "AA", "UA"] * 10})


@pytest.fixture(scope="module")
def carriers(launcher: Any, flights: pd.DataFrame) -> Any:
    encode = ColumnTransformer([("text", OneHotEncoder(), ["carrier"])], remainder="passthrough")
    return launcher.serve(make_pipeline(encode, LogisticRegression()).fit(flights, LATE), "carriers/model.joblib")


def test_rows_by_column_name_in_any_order(carriers: Any) -> None:
    rows = [{"carrier": "UA", "delay": 45}, {"delay": 2, "carrier": "AA"}]
    assert carriers.predict({"instances": rows}).json() == {"predictions": [1, 0]}
    assert carriers.predict({"instances": [[45, "UA"]]}).json() == {"predictions": [1]}


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"delay": 1}, "instances[0] lacks column 'carrier'; its columns are delay, carrier"),
        ({"delay": 1, "carrier": "AA", "gate": 3}, "has a column 'gate' that the model does not know"),
        ({"delay": "1", "carrier": "AA"}, "instances[0][0] (delay) is a string, expected a number"),
        ({"delay": 1, "carrier": 7}, "instances[0][1] (carrier) is a number, expected a string"),
        ({"delay": 1, "carrier": "ZZ"}, "the model refuses these rows: Found unknown categories ['ZZ']"),
    ],
    ids=["missing", "unknown", "text-for-number", "number-for-text", "new-category"],
)
def test_faults_in_named_rows_are_400(carriers: Any, row: Any, fault: str) -> None:
    answer = carriers.predict({"instances": [row]})
    assert answer.status == 400
    assert fault in answer.error


def test_one_v2_tensor_for_each_column(carriers: Any) -> None:
    inputs = [
        {"name": "carrier", "shape": [2], "datatype": "BYTES", "data": ["UA", "AA"]},
        {"name": "delay", "shape": [2, 1], "datatype": "INT32", "data": [45, 2]},
    ]
    assert carriers.infer({"inputs": inputs}).json()["outputs"][0]["data"] == [1, 0]
    assert "lack the column 'carrier'" in carriers.infer({"inputs": inputs[1:]}).error


def test_missing_values_reach_a_model_that_bears_them(launcher: Any) -> None:
    rows, late = np.array([[1.0], [40.0], [np.nan], [50.0]] * 10), [0, 1, 0, 1] * 10
    served = launcher.serve(HistGradientBoostingClassifier(min_samples_leaf=2).fit(rows, late), "nan/model.joblib")
    assert served.predict({"instances": [[None], [45.0]]}).json() == {"predictions": [0, 1]}


def test_regressor_answers_numbers(launcher: Any) -> None:
    forest = RandomForestRegressor(n_estimators=3, random_state=0).fit([[1.0], [2.0], [3.0]], [0.5, 0.5, 0.5])
    assert launcher.serve(forest, "forest/model.pkl").predict({"instances": [[1]]}).json() == {"predictions": [0.5]}


def test_kserves_switch_gives_probabilities_on_v1(launcher: Any, iris_model: Any) -> None:
    served = launcher.serve(iris_model, PREDICT_PROBA="true")
    (row,) = served.predict({"instances": [[5.1, 3.5, 1.4, 0.2]]}).json()["predictions"]
    assert row == pytest.approx(iris_model.predict_proba([[5.1, 3.5, 1.4, 0.2]])[0].tolist())


class Attack:
    def __init__(self, trace: str) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.trace,))


def last_words(predictor: Any) -> str:
    """Wait for a predictor that cannot serve to end; return what it wrote before gunicorn's own lines."""
    assert predictor.process.wait(DEADLINE_S) != 0
    lines = [line for line in predictor.log.read_text().splitlines() if "[ERROR]" not in line]
    assert len(lines) == 1, lines
    return str(lines[0])


def test_process_ends_with_one_line_when_the_model_cannot_be_served(launcher: Any, tmp_path: Path) -> None:
    place = launcher.store / "models" / "bad"
    place.mkdir()
    trace = tmp_path / "attacked"
    (place / "model.pkl").write_bytes(pickle.dumps(Attack(str(trace))))
    started = {
        "ModelNotFound: there is nothing at store://models/none": launcher.start("store://models/none"),
        "PickleNotVouched: model.pkl is a pickle": launcher.start("store://models/bad", ZEROFLOW_MODEL_VOUCHED_BY=""),
        "ModelNotApproved: model.pkl is not what was approved": launcher.start(
            "store://models/bad", ZEROFLOW_MODEL_SHA256="0" * 64
        ),
        "InvalidInput: cannot read 'store://models/../x'": launcher.start("store://models/../x"),
    }
    for words, predictor in started.items():
        assert last_words(predictor).startswith(f"model iris cannot be served: {words}")
    assert not trace.exists()


def test_predictor_drains_on_sigterm(launcher: Any, iris_model: Any) -> None:
    served = launcher.serve(iris_model, "drain/model.joblib")
    served.process.terminate()
    deadline = time.monotonic() + DEADLINE_S
    assert served.process.wait(max(0.0, deadline - time.monotonic())) == 0
