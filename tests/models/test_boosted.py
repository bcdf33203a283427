"""Boosters of XGBoost, compiled: the library's own answers, on holes, edges and huge numbers too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris

from zeroflow.models import boosters
from zeroflow.models.estimator import Estimator

pytest.importorskip("onnxruntime", reason="compiled trees need onnxruntime")

ROUNDS = 25
DATA = {"binary": load_breast_cancer, "classes": load_iris, "numbers": load_diabetes}
XGBOOST: list[tuple[str, dict[str, Any], str]] = [
    ("binary", {"objective": "binary:logistic"}, "compiled, equal"),
    ("classes", {"objective": "multi:softprob", "num_class": 3}, "compiled, equal"),
    ("classes", {"objective": "multi:softmax", "num_class": 3}, "compiled, equal"),
    ("numbers", {"objective": "reg:squarederror", "max_depth": 5}, "compiled, equal"),
    ("numbers", {"objective": "count:poisson"}, "compiled, equal"),
    ("numbers", {"booster": "dart", "rate_drop": 0.3}, "original"),
    ("numbers", {"booster": "gblinear"}, "original"),
]


def trained(place: Path, data: str, options: dict[str, Any]) -> tuple[Estimator, Any]:
    xgboost: Any = pytest.importorskip("xgboost", reason="XGBoost is not installed")
    rows, answers = DATA[data](return_X_y=True)
    rows = rows.copy()
    rows[np.random.default_rng(3).random(rows.shape) < 0.1] = np.nan
    booster = xgboost.train({"nthread": 1, **options}, xgboost.DMatrix(rows, answers), ROUNDS)
    booster.save_model(str(place / "model.ubj"))
    return boosters.read(place / "model.ubj", "xgboost", "0"), rows


@pytest.mark.parametrize(
    ("data", "options", "says"),
    XGBOOST,
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_a_booster_answers_as_its_library(tmp_path: Path, data: str, options: dict[str, Any], says: str) -> None:
    model, rows = trained(tmp_path, data, options)
    compiled = model.compiled()
    assert compiled.serves.startswith(says), compiled.serves
    random = np.random.default_rng(11)
    given = np.concatenate([rows, rows * random.normal(1, 0.3, rows.shape), np.zeros_like(rows[:2])])
    if options.get("booster") != "gblinear":  # which takes no infinite number
        given = np.concatenate([given, rows[:3] * 1e300])
    was, now = model.call("predict", given), compiled.call("predict", given)
    assert was.dtype == now.dtype
    assert was.shape == now.shape
    assert np.allclose(was, now, rtol=1e-5, atol=1e-6)


def test_a_threshold_decides_as_xgboost_decides(tmp_path: Path) -> None:
    """Columns that are exactly a threshold, and the float32 before and after it."""
    model, _ = trained(tmp_path, "binary", {"objective": "binary:logitraw", "max_depth": 3})
    compiled = model.compiled()
    _, trees = model.model.boosted()
    edges = np.concatenate([each.threshold[each.left >= 0] for each in trees]).astype(np.float32)
    edges = np.concatenate([edges, np.nextafter(edges, np.float32(np.inf))]).astype(np.float64)
    rows = np.random.default_rng(5).choice(edges, (500, model.width or 0))
    assert np.allclose(model.call("predict", rows), compiled.call("predict", rows), rtol=1e-5, atol=1e-6)
