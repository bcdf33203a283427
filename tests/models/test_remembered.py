"""A model that was compiled before is served again without scikit-learn, and answers the same; everything else is
loaded as if nothing were remembered."""

import gzip
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn import ensemble, linear_model, svm, tree
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

from zeroflow.artifacts import Stores
from zeroflow.models.compiled import remembered
from zeroflow.models.estimator import Estimator
from zeroflow.models.loading import load_versioned
from zeroflow.models.trust import Word

pytest.importorskip("onnxruntime", reason="compiled trees need onnxruntime")

URI = "store://models/iris"
SMALL = {"n_estimators": 15, "random_state": 0}
KNOWN: list[tuple[Any, Any]] = [
    (linear_model.LogisticRegression(max_iter=500), load_iris),
    (make_pipeline(StandardScaler(), linear_model.LogisticRegression()), load_breast_cancer),
    (make_pipeline(SimpleImputer(), MinMaxScaler(), RobustScaler(), linear_model.Ridge()), load_diabetes),
    (svm.LinearSVC(), load_iris),
    (tree.DecisionTreeClassifier(random_state=0), load_breast_cancer),
    (ensemble.RandomForestClassifier(**SMALL), load_iris),
    (ensemble.ExtraTreesRegressor(**SMALL), load_diabetes),
]
AGAIN = """
import json, sys
from pathlib import Path
import numpy as np
from zeroflow.artifacts import Stores
from zeroflow.models.loading import load_versioned
from zeroflow.models.trust import Word
root = Path(sys.argv[1])
stores = Stores(root / "store")
model, _ = load_versioned(stores, "store://models/iris", Word(by="me"), None, None, True, root / "memory")
assert not {"sklearn", "scipy", "pandas", "joblib"} & set(sys.modules), "it was not remembered"
rows = np.load(root / "rows.npy")
for method in model.methods:
    np.save(root / f"{method}.npy", model.call(method, rows))
(root / "outputs.json").write_text(json.dumps([each.__dict__ for each in model.outputs] + [model.serves, model.width]))
"""


def name(value: Any) -> str:
    return type(value.steps[-1][1] if hasattr(value, "steps") else value).__name__ if hasattr(value, "fit") else ""


def load(stores: Stores, memory: Path | None) -> Estimator:
    model, _ = load_versioned(stores, URI, Word(by="me"), None, None, True, memory)
    assert isinstance(model, Estimator)
    return model


def again(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", AGAIN, str(root)], capture_output=True, text=True)


@pytest.mark.parametrize(("model", "data"), KNOWN, ids=name)
def test_another_process_answers_the_same_without_scikit_learn(
    tmp_path: Path, stores: Stores, place: Path, model: Any, data: Any
) -> None:
    rows, answers = data(return_X_y=True)
    joblib.dump(model.fit(rows, answers), place / "model.joblib")
    first = load(stores, tmp_path / "memory")
    np.save(tmp_path / "rows.npy", rows)
    done = again(tmp_path)
    assert done.returncode == 0, done.stderr
    for method in first.methods:
        assert np.array_equal(np.load(tmp_path / f"{method}.npy"), first.call(method, rows))
    told = json.loads((tmp_path / "outputs.json").read_text())
    assert told == [json.loads(json.dumps(each.__dict__)) for each in first.outputs] + [first.serves, first.width]


@pytest.mark.parametrize("how", ["pickle", "protocol 2", "zlib", "gzip"])
def test_other_ways_to_write_a_pickle_are_read(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any, how: str
) -> None:
    if how == "zlib":
        joblib.dump(classifier, place / "model.joblib", compress=3)
    elif how == "gzip":
        (place / "model.pkl").write_bytes(gzip.compress(pickle.dumps(classifier)))
    else:
        (place / "model.pkl").write_bytes(pickle.dumps(classifier, 2 if how == "protocol 2" else 5))
    load(stores, tmp_path / "memory")
    np.save(tmp_path / "rows.npy", np.zeros((1, 4)))
    done = again(tmp_path)
    assert done.returncode == 0, done.stderr


def test_other_bytes_are_not_remembered(tmp_path: Path, stores: Stores, place: Path, classifier: Any) -> None:
    joblib.dump(classifier, place / "model.joblib")
    load(stores, tmp_path / "memory")
    classifier = pickle.loads(pickle.dumps(classifier))
    classifier.intercept_ = classifier.intercept_ + 1
    joblib.dump(classifier, place / "model.joblib")
    np.save(tmp_path / "rows.npy", np.zeros((1, 4)))
    assert "it was not remembered" in again(tmp_path).stderr


def test_finding_of_other_versions_is_not_taken(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    joblib.dump(classifier, place / "model.joblib")
    with monkeypatch.context() as before:
        before.setattr(remembered, "_libraries", lambda: iter(["scikit_learn-0.1.dist-info"]))
        load(stores, tmp_path / "memory")
    np.save(tmp_path / "rows.npy", np.zeros((1, 4)))
    assert "it was not remembered" in again(tmp_path).stderr


def test_model_with_a_part_of_its_own_is_never_remembered(tmp_path: Path, stores: Stores, place: Path) -> None:
    made = make_pipeline(FunctionTransformer(np.log1p), linear_model.LogisticRegression())
    joblib.dump(made.fit(*load_iris(return_X_y=True)), place / "model.joblib")
    load(stores, tmp_path / "memory")
    assert not (tmp_path / "memory").exists()


def test_model_that_its_library_reads_otherwise_is_not_remembered(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def migrated(self: Any, state: dict[str, Any]) -> None:
        self.__dict__.update({**state, "intercept_": state["intercept_"] + 1})

    joblib.dump(classifier, place / "model.joblib")
    monkeypatch.setattr(linear_model.LogisticRegression, "__setstate__", migrated)
    assert load(stores, tmp_path / "memory").serves.startswith("compiled, exact")
    assert not (tmp_path / "memory").exists()


def test_finding_leads_to_no_code_of_the_file(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any, attack: bytes, trace: Path
) -> None:
    joblib.dump(classifier, place / "model.joblib")
    found = load(stores, tmp_path / "memory").sha256
    (place / "model.joblib").write_bytes(attack)
    finding = next((tmp_path / "memory").iterdir())
    assert remembered.recall(tmp_path / "memory", place / "model.joblib", found, lambda: None) is None
    assert finding.exists()
    assert not trace.exists()


@pytest.mark.parametrize("damaged", [b"", b"{", b"[]", b'{"made_by": 1}'])
def test_damaged_finding_is_as_good_as_none(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any, damaged: bytes
) -> None:
    joblib.dump(classifier, place / "model.joblib")
    load(stores, tmp_path / "memory")
    next((tmp_path / "memory").iterdir()).write_bytes(damaged)
    assert load(stores, tmp_path / "memory").serves.startswith("compiled, exact")


def test_memory_that_cannot_be_written_keeps_nothing_away(
    tmp_path: Path, stores: Stores, place: Path, classifier: Any
) -> None:
    joblib.dump(classifier, place / "model.joblib")
    (tmp_path / "memory").write_text("a file")
    assert load(stores, tmp_path / "memory").serves.startswith("compiled, exact")
