"""A compiled model answers what the original answers, and whatever cannot is left as it is, with the reason."""

from typing import Any

import numpy as np
import pytest
from sklearn import ensemble, linear_model, naive_bayes, tree
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import LinearSVC

from zeroflow.models.estimator import Estimator

pytest.importorskip("onnxruntime", reason="compiled trees need onnxruntime")

IRIS, SUGAR, CANCER = load_iris, load_diabetes, load_breast_cancer
SMALL = {"n_estimators": 15, "random_state": 0}
EXACT: list[tuple[Any, Any]] = [
    (linear_model.LogisticRegression(max_iter=500), IRIS),
    (make_pipeline(StandardScaler(), linear_model.LogisticRegression()), CANCER),
    (make_pipeline(SimpleImputer(), MinMaxScaler(), linear_model.Ridge()), SUGAR),
    (linear_model.Lasso(), SUGAR),
    (LinearSVC(), IRIS),
    (tree.DecisionTreeClassifier(random_state=0), CANCER),
    (ensemble.RandomForestClassifier(**SMALL), IRIS),
    (ensemble.RandomForestRegressor(**SMALL), SUGAR),
    (ensemble.ExtraTreesClassifier(**SMALL), CANCER),
    (ensemble.GradientBoostingClassifier(**SMALL), IRIS),
    (ensemble.GradientBoostingRegressor(**SMALL), SUGAR),
    (ensemble.HistGradientBoostingClassifier(max_iter=15), IRIS),
    (ensemble.HistGradientBoostingRegressor(max_iter=15, loss="poisson"), SUGAR),
]


def fitted(model: Any, data: Any, holes: bool = False) -> tuple[Any, Any]:
    rows, answers = data(return_X_y=True)
    if holes:
        rows = rows.copy()
        rows[np.random.default_rng(1).random(rows.shape) < 0.1] = np.nan
    return model.fit(rows, answers), rows


def name(value: Any) -> str:
    return type(value.steps[-1][1] if hasattr(value, "steps") else value).__name__ if hasattr(value, "fit") else ""


@pytest.mark.parametrize(("model", "data"), EXACT, ids=name)
def test_answers_are_the_originals(model: Any, data: Any) -> None:
    model, rows = fitted(model, data)
    compiled = Estimator.of(model, "0").compiled()
    assert compiled.serves.startswith("compiled, exact"), compiled.serves
    random = np.random.default_rng(7)
    given = np.concatenate([rows, rows * random.normal(1, 0.3, rows.shape), random.normal(0, 100, rows.shape)])
    for method in compiled.fast:
        assert np.allclose(compiled.call(method, given), getattr(model, method)(given), rtol=1e-13, atol=1e-13)
    assert np.array_equal(compiled.call("predict", given), model.predict(given)) or data is SUGAR


@pytest.mark.parametrize("made", [tree.DecisionTreeRegressor(random_state=0), ensemble.RandomForestRegressor(**SMALL)])
def test_several_outputs_are_added_up_alike(made: Any) -> None:
    rows, _ = load_diabetes(return_X_y=True)
    model = made.fit(rows[:, 3:], rows[:, :3])
    compiled = Estimator.of(model, "0").compiled()
    assert compiled.serves.startswith("compiled, exact"), compiled.serves
    assert np.allclose(compiled.call("predict", rows[:, 3:]), model.predict(rows[:, 3:]), rtol=1e-13, atol=1e-13)


def test_missing_values_take_the_same_way() -> None:
    for made in (ensemble.HistGradientBoostingClassifier(max_iter=15), ensemble.RandomForestClassifier(**SMALL)):
        model, rows = fitted(made, CANCER, holes=True)
        compiled = Estimator.of(model, "0").compiled()
        assert compiled.serves.startswith("compiled, exact"), compiled.serves
        assert np.array_equal(compiled.call("predict_proba", rows), model.predict_proba(rows))


def test_ties_between_classes_are_broken_as_before() -> None:
    """Two trees that disagree: the first class wins, whatever float32 would make of the sum."""
    model = ensemble.RandomForestClassifier(n_estimators=2, random_state=0).fit([[0.0], [1.0]] * 3, [0, 1] * 3)
    compiled = Estimator.of(model, "0").compiled()
    rows = np.linspace(-1, 2, 301).reshape(-1, 1)
    assert np.array_equal(compiled.call("predict", rows), model.predict(rows))


def test_number_beyond_float32_is_still_refused() -> None:
    model, _ = fitted(ensemble.RandomForestClassifier(**SMALL), IRIS)
    with pytest.raises(ValueError, match="too large for float32"):
        Estimator.of(model, "0").compiled().call("predict", np.full((1, 4), 1e300))


class Cautious(linear_model.LogisticRegression):
    """A subclass that answers something of its own."""

    def predict(self, X: Any) -> Any:  # noqa: N803 - scikit-learn's name
        return np.zeros(len(X), dtype=int)


def test_subclass_with_its_own_predict_keeps_it() -> None:
    model, rows = fitted(Cautious(max_iter=500), IRIS)
    compiled = Estimator.of(model, "0").compiled()
    assert compiled.call("predict", rows).tolist() == [0] * len(rows)


def test_plan_that_answers_otherwise_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    from zeroflow.models.compiled import linear

    wrong = {"logistic": lambda model: {"predict": lambda rows: np.zeros(len(rows), dtype=int)}}
    monkeypatch.setattr(linear, "HEADS", wrong)
    model, rows = fitted(linear_model.LogisticRegression(max_iter=500), IRIS)
    compiled = Estimator.of(model, "0").compiled()
    assert "answers otherwise in" in compiled.serves
    assert np.array_equal(compiled.call("predict", rows), model.predict(rows))


def test_other_models_are_converted_within_the_tolerance() -> None:
    pytest.importorskip("skl2onnx", reason="skl2onnx converts it")
    model, rows = fitted(naive_bayes.GaussianNB(), IRIS)
    compiled = Estimator.of(model, "0").compiled()
    assert compiled.serves.startswith("converted to ONNX, equal within 1e-06"), compiled.serves
    assert np.array_equal(compiled.call("predict", rows), model.predict(rows))


def test_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    model, _ = fitted(ensemble.RandomForestClassifier(**SMALL), IRIS)
    compiled = Estimator.of(model, "0").compiled()
    assert (dict(compiled.fast), compiled.serves) == ({}, "original: compiling needs onnxruntime, which is missing")
