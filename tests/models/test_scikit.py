"""Models answer the same when scikit-learn was imported without what most of them never use."""

import subprocess
import sys
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import EllipticEnvelope
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PowerTransformer, QuantileTransformer, StandardScaler

ROWS, CLASSES = load_iris(return_X_y=True)
QUICK = [
    LogisticRegression(max_iter=500),
    RandomForestClassifier(n_estimators=5, random_state=0),
    make_pipeline(StandardScaler(), LogisticRegression()),
]
STATISTICAL = [  # with scipy.stats: its normal distribution, chi2, rankdata, gmean, spearmanr
    make_pipeline(QuantileTransformer(n_quantiles=50, output_distribution="normal"), LogisticRegression()),
    make_pipeline(PowerTransformer(), LogisticRegression()),
    EllipticEnvelope(random_state=0),
    HistGradientBoostingClassifier(max_iter=5),
    CalibratedClassifierCV(GaussianNB(), method="isotonic"),
]
LOADED = """
import sys
import numpy as np
from pathlib import Path
from zeroflow.artifacts import Stores
from zeroflow.models.loading import load
from zeroflow.models.trust import Word
root = Path(sys.argv[1])
model = load(Stores(root / "store"), "store://models/it", Word(by="me"), compiling=sys.argv[2] == "compiled")
print(sorted({"pandas", "rich", "scipy.stats"} & set(sys.modules)))
for method in model.methods:
    np.save(root / f"{method}.npy", model.call(method, np.load(root / "rows.npy")))
from scipy import stats
from scipy.stats import norm, rankdata
import scipy.stats.mstats
assert isinstance(norm, stats.rv_continuous) and rankdata is stats.rankdata
"""


def loaded(tmp_path, model: Any, form: str) -> str:
    """Load a model in a new process, compare its answers, and return what that process has imported."""
    joblib.dump(model, tmp_path / "store" / "models" / "it" / "model.joblib")
    np.save(tmp_path / "rows.npy", ROWS)
    command = [sys.executable, "-c", LOADED, str(tmp_path), form]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            np.testing.assert_allclose(np.load(tmp_path / f"{method}.npy"), getattr(model, method)(ROWS), rtol=1e-12)
    return done.stdout.strip()


@pytest.fixture(autouse=True)
def store(tmp_path):
    (tmp_path / "store" / "models" / "it").mkdir(parents=True)


def name(model: Any) -> str:
    return type(model).__name__ if not hasattr(model, "steps") else "-".join(part for part, _ in model.steps)


@pytest.mark.parametrize("model", QUICK, ids=name)
def test_a_model_is_loaded_and_compiled_without_statistics_data_frames_and_progress_bars(tmp_path, model):
    assert loaded(tmp_path, model.fit(ROWS, CLASSES), "compiled") == "[]"


@pytest.mark.parametrize("model", STATISTICAL, ids=name)
def test_a_model_that_needs_statistics_has_them(tmp_path, model):
    loaded(tmp_path, model.fit(ROWS, CLASSES), "original")


def test_beside_other_threads_everything_is_imported_as_usual():
    code = (
        "import sys, threading; from zeroflow.models import scikit\n"
        "thread = threading.Thread(target=scikit.import_lightly, args=(b'sklearn.tree',))\n"
        "thread.start(); thread.join(); print('sklearn' in sys.modules)\n"
        "scikit.import_lightly(b'sklearn.tree'); print('sklearn.tree' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


def test_a_class_made_of_a_distribution_is_loaded(tmp_path, monkeypatch):
    (tmp_path / "ours.py").write_text(
        "from scipy.stats import norm, rv_continuous\n"
        "from sklearn.linear_model import LogisticRegression\n"
        "class Flat(rv_continuous):\n"
        "    def _pdf(self, x): return 1.0 + 0 * x\n"
        "class Ours(LogisticRegression):\n"
        "    def predict(self, rows):\n"
        "        return super().predict(rows) * Flat(a=0, b=1).pdf(0.5) * isinstance(norm, rv_continuous)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    from ours import Ours  # type: ignore[import-not-found]

    loaded(tmp_path, Ours(max_iter=500).fit(ROWS, CLASSES), "original")
