"""Models that attack whoever loads them: refused, and nothing of them is run, whoever vouches where noted."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from models.conftest import Attack
from zeroflow.artifacts import Stores
from zeroflow.errors import InvalidInput
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


def packed(**members: bytes | int) -> bytes:
    """Return a zip archive; a number stands for so many MiB of spaces."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name.replace("_", "."), "w") as file:
                for _ in range(content if isinstance(content, int) else 1):
                    file.write(b" " * (1 << 20) if isinstance(content, int) else content)
    return buffer.getvalue()


def damaged(archive: bytes) -> bytes:
    """Return an archive whose first member does not begin as packed bytes do."""
    at = 30 + len("schema.json")
    return archive[:at] + b"\x07" + archive[at + 1 :]


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (packed(schema_json=200), "more than 100 times its own size"),
        (packed(schema_json=b"{}", weights_npy=200), "more than 100 times its own size"),
        (packed(schema_json=48), "schema.json of more than"),
        (damaged(packed(schema_json=b"{}" * 500)), "damaged archive"),
    ],
    ids=["schema", "weights", "long-schema", "damaged"],
)
def test_archive_that_would_fill_the_memory_is_refused(stores: Stores, place: Path, archive: bytes, words: str) -> None:
    (place / "model.skops").write_bytes(archive)
    with pytest.raises(CorruptModel, match=words):
        load(stores, URI, Word())


LAUGHS = "\n".join(
    ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    + [f"a{at}: &a{at} [{', '.join([f'*a{at - 1}'] * 9)}]" for at in range(1, 10)]
    + ["flavors: {onnx: {data: *a9}}"]
)
RUNTIME = '{"implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "%s"}}'


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("MLmodel", LAUGHS, "more than 8 aliases"),
        ("MLmodel", "flavors: {onnx: {data: [a, b]}}", "names no file for the flavour onnx"),
        ("MLmodel", "[" * 5_000, "is not YAML"),
        ("config.json", '{"architectures":' + "[" * 100_000, "is not JSON"),
        ("model-settings.json", RUNTIME % r"a\u0000b", "which is not in the directory"),
        ("model-settings.json", RUNTIME % r"\ud800", "which is not in the directory"),
        ("model-settings.json", RUNTIME % ("a" * 5_000), "which is not in the directory"),
        ("model.py", "x = " + "-" * 100_000 + "1", "nested too deeply"),
        ("model.py", "x = a" + ".b" * 100_000, "no Python that can be read"),
    ],
    ids=["laughs", "list", "deep-yaml", "deep-json", "nul", "surrogate", "long", "deep-sign", "deep-name"],
)
def test_descriptions_made_to_exhaust_are_told_in_one_line(
    stores: Stores, place: Path, file: str, text: str, words: str
) -> None:
    (place / file).write_text(text)
    with pytest.raises(CorruptModel, match=words):
        load(stores, URI, Word())


def test_pipe_in_a_models_directory_is_refused(stores: Stores, place: Path) -> None:
    os.mkfifo(place / "model.onnx")
    with pytest.raises(InvalidInput, match="is a pipe or a device"):
        load(stores, URI, Word(by="me"))


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
