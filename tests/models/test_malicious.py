"""Models that attack whoever loads them: refused, and nothing of them is run, whoever vouches where noted."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from models.conftest import Attack
from zeroflow.artifacts import Stores
from zeroflow.models.errors import CorruptModel, FormatNotSupported, NotVouched, UntrustedTypes
from zeroflow.models.loading import load
from zeroflow.models.trust import Word

URI = "store://models/iris"
MODULE = "import torch\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x\n"


def test_torch_pickle_beside_its_class_is_not_run_even_if_somebody_vouches(
    stores: Stores, place: Path, trace: Path
) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    (place / "net.py").write_text(MODULE)
    torch.save({"weight": Attack(trace)}, place / "model.pt")
    with pytest.raises(UntrustedTypes, match="holds more than weights"):
        load(stores, URI, Word(by="me"))
    assert not trace.exists()
    torch.load(place / "model.pt", weights_only=False)
    assert trace.exists()  # else the lines above show nothing


def test_torch_pickle_alone_is_refused_by_name(stores: Stores, place: Path, trace: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save(Attack(trace), place / "model.pt")
    with pytest.raises(FormatNotSupported, match="PyTorch weights without a program"):
        load(stores, URI, Word(by="me"))
    assert not trace.exists()


def test_pickled_weights_of_a_text_model_are_not_run(stores: Stores, place: Path, trace: Path) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    pytest.importorskip("transformers", reason="transformers is not installed")
    (place / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8}')
    (place / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
    torch.save({"x": Attack(trace)}, place / "pytorch_model.bin")
    with pytest.raises(CorruptModel):
        load(stores, URI, Word())
    assert not trace.exists()


def test_code_that_a_text_models_config_names_is_not_run(stores: Stores, place: Path, trace: Path) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    pytest.importorskip("torch", reason="PyTorch is not installed")
    (place / "evil.py").write_text(f"open({str(trace)!r}, 'w')\n")
    auto = '"auto_map": {"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoTokenizer": ["evil.T", null]}'
    (place / "config.json").write_text(f'{{"architectures": ["EvilModel"], "model_type": "evil", {auto}}}')
    with pytest.raises(CorruptModel):
        load(stores, URI, Word(by="me"))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.keras", "model.h5"])
def test_keras_is_refused_by_name(stores: Stores, place: Path, name: str) -> None:
    """A Lambda layer in it is code; it is not looked for."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Lambda"}')
        archive.writestr("model.weights.h5", b"x")
    (place / name).write_bytes(buffer.getvalue() if name.endswith("keras") else b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FormatNotSupported, match="is a keras model"):
        load(stores, URI, Word(by="me"))


@pytest.mark.parametrize("name", ["model.skops", "model.pt"])
def test_archive_with_climbing_names_writes_nothing(stores: Stores, place: Path, tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(place / name, "w") as archive:
        archive.writestr("../../../../climbed", b"x")
        archive.writestr("schema.json" if name.endswith("skops") else "m/data.pkl", b"{}")
        archive.writestr("m/code/x.py", b"")
        archive.writestr("m/constants.pkl", b"")
    with pytest.raises((CorruptModel, FormatNotSupported)):
        load(stores, URI, Word(by="me"))
    assert not list(tmp_path.parent.rglob("climbed"))


def test_link_in_a_models_directory_is_refused(stores: Stores, place: Path, classifier: Any) -> None:
    (place / "model.pkl").write_bytes(pickle.dumps(classifier))
    (place / "secret.txt").symlink_to("/etc/passwd")
    with pytest.raises(Exception, match="symbolic link"):
        load(stores, URI, Word(by="me"))


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("model.py", "class A:\n    def predict(self, p): ...\n"),
        ("MLmodel", "flavors: {python_function: {loader_module: os}}"),
        ("saved_model.pb", "x"),
    ],
    ids=["class", "pyfunc", "savedmodel"],
)
def test_programs_need_somebodys_word(stores: Stores, place: Path, file: str, text: str) -> None:
    (place / file).write_text(text)
    with pytest.raises(NotVouched, match="nobody vouches for its bytes"):
        load(stores, URI, Word())


def test_class_that_fails_to_load_is_one_line(stores: Stores, place: Path) -> None:
    (place / "model.py").write_text(
        "class A:\n    def load(self):\n        raise OSError('no\\nway')\n    def predict(self, p): ...\n"
    )
    with pytest.raises(CorruptModel, match=r"^model\.py cannot be loaded: OSError: no way$"):
        load(stores, URI, Word(by="me"))
