"""Loading runs nobody's code but what somebody accountable vouched for."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import pytest

from zeroflow.artifacts import Stores, content
from zeroflow.errors import InvalidInput
from zeroflow.models.errors import CorruptModel, FormatNotSupported, NoModel, NotVouched
from zeroflow.models.loading import load
from zeroflow.models.trust import Word

URI = "store://models/iris"


def test_pickle_that_nobody_vouches_for_is_never_run(stores: Stores, place: Path, attack: bytes, trace: Path) -> None:
    (place / "model.pkl").write_bytes(attack)
    with pytest.raises(NotVouched, match=r"model\.pkl is a pickle, which runs code .* nobody vouches"):
        load(stores, URI, Word())
    assert not trace.exists()


def test_attack_would_have_run_when_loaded(attack: bytes, trace: Path) -> None:
    pickle.loads(attack)
    assert trace.exists()  # else the test above shows nothing


def test_pickle_exchanged_after_it_was_vouched_for_is_never_run(
    stores: Stores, place: Path, classifier: Any, attack: bytes, trace: Path
) -> None:
    joblib.dump(classifier, place / "model.joblib")
    word = Word(content.of(place / "model.joblib").sha256, "run/1/train")
    (place / "model.joblib").write_bytes(attack)
    with pytest.raises(CorruptModel, match="is not what was approved"):
        load(stores, URI, word)
    assert not trace.exists()


@pytest.mark.parametrize("hashed", ["file", "directory"])
def test_vouched_pickle_is_loaded(stores: Stores, place: Path, classifier: Any, hashed: str) -> None:
    joblib.dump(classifier, place / "model.joblib")
    sha256 = content.of(place / "model.joblib" if hashed == "file" else place).sha256
    model = load(stores, URI, Word(sha256, "run/1/train"), "sklearn")
    assert model.call("predict", [[5.1, 3.5, 1.4, 0.2]]).tolist() == [0]  # an iris setosa


def test_skops_needs_no_word(stores: Stores, place: Path, classifier: Any) -> None:
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    skops.dump(classifier, place / "model.skops")
    model = load(stores, URI, Word())
    assert model.call("predict", [[5.1, 3.5, 1.4, 0.2]]).tolist() == [0]


def test_skops_with_unknown_types_is_refused(stores: Stores, place: Path) -> None:
    skops = pytest.importorskip("skops.io", reason="skops is not installed")
    from sklearn.preprocessing import FunctionTransformer

    skops.dump(FunctionTransformer(func=print), place / "model.skops")
    with pytest.raises(FormatNotSupported, match="types that skops does not trust"):
        load(stores, URI, Word())


@pytest.mark.parametrize(
    ("obj", "fault"),
    [({"weights": [1, 2]}, "holds a dict"), ([1], "holds a list")],
    ids=["dict", "list"],
)
def test_what_cannot_predict_is_refused(stores: Stores, place: Path, obj: Any, fault: str) -> None:
    joblib.dump(obj, place / "model.joblib")
    with pytest.raises(FormatNotSupported, match=fault):
        load(stores, URI, Word(by="me"))


def test_unfitted_estimator_is_refused(stores: Stores, place: Path) -> None:
    from sklearn.linear_model import LogisticRegression

    joblib.dump(LogisticRegression(), place / "model.joblib")
    with pytest.raises(CorruptModel, match="was never fitted"):
        load(stores, URI, Word(by="me"))


def test_cut_file_is_refused(stores: Stores, place: Path, classifier: Any) -> None:
    joblib.dump(classifier, place / "whole")
    (place / "model.joblib").write_bytes((place / "whole").read_bytes()[:200])
    (place / "whole").unlink()
    with pytest.raises(CorruptModel, match=r"model\.joblib cannot be loaded"):
        load(stores, URI, Word(by="me"))


def test_missing_module_is_named(stores: Stores, place: Path) -> None:
    (place / "model.pkl").write_bytes(b"\x80\x04\x8c\x0bnot_therexx\x8c\x05Model\x93.")
    with pytest.raises(CorruptModel, match="needs the Python module 'not_therexx'"):
        load(stores, URI, Word(by="me"))


def test_nothing_there_is_said(stores: Stores) -> None:
    with pytest.raises(NoModel, match="there is nothing at store://models/none"):
        load(stores, "store://models/none", Word())


def test_location_that_climbs_out_is_refused(stores: Stores) -> None:
    with pytest.raises(InvalidInput, match="climbs out"):
        load(stores, "store://models/../../etc/passwd", Word())


def test_private_copy_is_gone_afterwards(stores: Stores, place: Path, classifier: Any, tmp_path: Path) -> None:
    joblib.dump(classifier, place / "model.joblib")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    load(stores, URI, Word(by="me"), scratch=scratch)
    assert list(scratch.iterdir()) == []


FRAMES = """
import sys
from pathlib import Path
from zeroflow.artifacts import Stores
from zeroflow.models.loading import load
from zeroflow.models.trust import Word
model = load(Stores(Path(sys.argv[1])), "store://models/iris", Word(by="me"))
print("pandas" in sys.modules, model.call("predict", __import__("numpy").array([[1.0, "a"]], dtype=object)).tolist())
"""


def test_pandas_is_imported_for_models_of_data_frames_only(tmp_path: Path, place: Path, classifier: Any) -> None:
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    columns = ColumnTransformer([("n", StandardScaler(), ["age"]), ("c", OneHotEncoder(), ["city"])])
    columns.set_output(transform="default")
    frame = pd.DataFrame({"age": [1.0, 9.0, 1.0, 9.0], "city": ["a", "b", "a", "b"]})
    joblib.dump(make_pipeline(columns, LogisticRegression()).fit(frame, [0, 1, 0, 1]), place / "model.joblib")
    done = subprocess.run(
        [sys.executable, "-c", FRAMES, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True [0]"
    joblib.dump(classifier, place / "model.joblib")
    plain = FRAMES.replace('[[1.0, "a"]], dtype=object', "[[5.1, 3.5, 1.4, 0.2]]")
    done = subprocess.run(
        [sys.executable, "-c", plain, str(tmp_path / "store")], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False [0]"
