"""A model file is recognised by its bytes, and what cannot be served is refused by name."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import joblib
import pytest

from zeroflow.models.directories import find_model
from zeroflow.models.errors import AmbiguousModel, CorruptModel, FormatNotSupported, NoModel


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as written:
        for name, data in members.items():
            written.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


@pytest.mark.parametrize("compress", [0, 3, ("gzip", 3), ("bz2", 3), ("xz", 3)], ids=str)
def test_joblib_is_recognised_however_it_is_compressed(tmp_path: Path, classifier: Any, compress: Any) -> None:
    path = tmp_path / "model.joblib"
    joblib.dump(classifier, path, compress=compress)
    found = find_model(path)
    assert (found.format, found.is_pickle) == ("sklearn", True)


@pytest.mark.parametrize("name", ["model.pkl", "model.pickle", "model.joblib", "model"], ids=str)
def test_pickle_is_recognised_under_every_name(tmp_path: Path, classifier: Any, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(pickle.dumps(classifier))
    assert find_model(path).is_pickle


@pytest.mark.parametrize(
    ("name", "data", "format_name"),
    [
        ("model.joblib", b"\x89HDF\r\n\x1a\n", "keras"),
        ("model.pdmodel", b"x", "paddle"),
        ("model.tflite", b"x", "tflite"),
        ("model.gguf", b"GGUF\x03\x00\x00\x00", "gguf"),
        ("model.safetensors", (40).to_bytes(8, "little") + b'{"weight":{}}', "safetensors"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_formats_are_named_in_the_refusal(tmp_path: Path, name: str, data: bytes, format_name: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatNotSupported, match=f"is a {format_name} model; formats served now: sklearn"):
        find_model(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "data", "format_name", "runs_code"),
    [
        ("model", b"\x08\x0a\x12\x07pytorch:\xd0\x0b", "onnx", False),
        ("model.onnx", b"\x08\x08:\xd0\x0b", "onnx", False),
        ("model.bst", b"tree\nversion=v4\n", "lightgbm", False),
        ("model.json", b'{"learner":{}}', "xgboost", False),
        ("model.ubj", b"{L\x00\x00", "xgboost", False),
        ("model.pmml", b'<?xml version="1.0"?><PMML version="4.4">', "pmml", False),
        ("model.pt", archive(m__data_dot_pkl=b"", m__code__x_dot_py=b"", m__constants_dot_pkl=b""), "pytorch", True),
        ("model.pt2", archive(m__models__model_dot_json=b"{}"), "pytorch", True),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_formats_are_told_from_their_first_bytes(
    tmp_path: Path, name: str, data: bytes, format_name: str, runs_code: bool
) -> None:
    (tmp_path / name).write_bytes(data)
    found = find_model(tmp_path / name)
    assert (found.format, found.is_pickle) == (format_name, runs_code)


def test_weights_without_a_program_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(archive(archive__data_dot_pkl=b""))
    with pytest.raises(FormatNotSupported, match="PyTorch weights without a program"):
        find_model(tmp_path)


def test_directory_with_one_model_is_that_model(tmp_path: Path, classifier: Any) -> None:
    joblib.dump(classifier, tmp_path / "model.joblib")
    (tmp_path / "README.md").write_text("about")
    (tmp_path / "requirements.txt").write_text("scikit-learn")
    (tmp_path / ".hidden.pkl").write_bytes(b"")
    assert find_model(tmp_path).path == tmp_path / "model.joblib"


def test_directory_with_two_models_is_refused(tmp_path: Path, classifier: Any) -> None:
    joblib.dump(classifier, tmp_path / "a.joblib")
    joblib.dump(classifier, tmp_path / "b.pkl")
    with pytest.raises(AmbiguousModel, match=r"2 models, expected one: a\.joblib \(sklearn\), b\.pkl \(sklearn\)"):
        find_model(tmp_path)


def test_directory_without_a_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(NoModel, match=r"found notes\.txt"):
        find_model(tmp_path)


FILES: dict[str, dict[str, str]] = {
    "mlflow": {"MLmodel": "flavors: {sklearn: {pickled_model: model.pkl}}"},
    "tensorflow": {"saved_model.pb": "x"},
    "huggingface": {"config.json": '{"architectures": ["BertModel"]}'},
    "python": {"model.py": "class A:\n    def load(self): ...\n    def predict(self, rows): ...\n"},
    "mlserver": {
        "model-settings.json": '{"implementation": "code.A"}',
        "code.py": "class A:\n    def predict(self, rows): ...\n",
    },
}


def write(place: Path, *layouts: str) -> None:
    for layout in layouts:
        for name, text in FILES[layout].items():
            (place / name).write_text(text)


@pytest.mark.parametrize(
    ("layout", "format_name", "runs_code"),
    [
        ("mlflow", "mlflow", True),
        ("tensorflow", "tensorflow", True),
        ("huggingface", "huggingface", False),
        ("python", "python", True),
        ("mlserver", "python", True),
    ],
)
def test_layouts_are_told_from_their_files(tmp_path: Path, layout: str, format_name: str, runs_code: bool) -> None:
    write(tmp_path, layout)
    found = find_model(tmp_path)
    assert (found.format, found.is_pickle) == (format_name, runs_code)


@pytest.mark.parametrize(
    ("layouts", "file", "named"),
    [
        (("mlflow", "tensorflow"), None, r"MLmodel \(mlflow\), saved_model\.pb \(tensorflow\)"),
        (("huggingface",), "a.joblib", r"config\.json \(huggingface\), a\.joblib \(sklearn\)"),
        (("mlflow",), "other.onnx", r"MLmodel \(mlflow\), other\.onnx \(onnx\)"),
        ((), "b.onnx", r"a\.joblib \(sklearn\), b\.onnx \(onnx\)"),
    ],
    ids=["two-layouts", "layout-and-file", "mlflow-and-file", "two-files"],
)
def test_directory_of_two_formats_is_refused_with_both_named(
    tmp_path: Path, classifier: Any, layouts: tuple[str, ...], file: str | None, named: str
) -> None:
    write(tmp_path, *layouts)
    if file:
        (tmp_path / file).write_bytes(b"\x08\x08:" if file.endswith("onnx") else pickle.dumps(classifier))
    if not layouts:
        joblib.dump(classifier, tmp_path / "a.joblib")
    with pytest.raises(AmbiguousModel, match=named):
        find_model(tmp_path)


def test_assets_of_a_layout_are_its_own(tmp_path: Path, classifier: Any) -> None:
    write(tmp_path, "python")
    joblib.dump(classifier, tmp_path / "inside.joblib")
    assert find_model(tmp_path).format == "python"


def test_script_beside_a_model_file_is_no_model(tmp_path: Path, classifier: Any) -> None:
    joblib.dump(classifier, tmp_path / "model.joblib")
    (tmp_path / "train.py").write_text("class Wrapper:\n    def predict(self, rows): ...\n")
    assert find_model(tmp_path).format == "sklearn"


@pytest.mark.parametrize(
    ("files", "fault"),
    [
        ({"model.py": "class A:\n  def predict("}, "no Python that can be read"),
        ({"MLmodel": "flavors: ["}, "MLmodel is not YAML"),
        ({"MLmodel": "{}"}, "MLmodel has no flavors"),
        ({"model-settings.json": "{"}, "is not JSON"),
        ({"model-settings.json": '{"implementation": "x"}'}, 'has no "implementation"'),
        ({"model-settings.json": '{"implementation": "....etc.A"}'}, "which is not in the directory"),
        ({"model-settings.json": '{"implementation": "code.A"}'}, "which is not in the directory"),
    ],
    ids=["python", "yaml", "no-flavours", "json", "no-module", "climbing", "absent"],
)
def test_layouts_that_cannot_be_read_are_refused(tmp_path: Path, files: dict[str, str], fault: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(CorruptModel, match=fault):
        find_model(tmp_path)


@pytest.mark.parametrize("parameters", [{}, {"uri": "./"}, {"uri": "./model.joblib"}], ids=["none", "here", "file"])
def test_mlservers_settings_may_leave_the_file_to_be_found(
    tmp_path: Path, classifier: Any, parameters: dict[str, str]
) -> None:
    settings = {"name": "lr", "implementation": "mlserver_sklearn.SKLearnModel", "parameters": parameters}
    (tmp_path / "model-settings.json").write_text(json.dumps(settings))
    with pytest.raises((NoModel, CorruptModel)):
        find_model(tmp_path)
    joblib.dump(classifier, tmp_path / "model.joblib")
    assert find_model(tmp_path).path.name == "model.joblib"
    (tmp_path / "model.joblib").unlink()
    write(tmp_path, "mlflow")
    if "joblib" not in str(parameters):
        assert find_model(tmp_path).format == "mlflow"


@pytest.mark.parametrize("name", ["model-store/mnist.mar", "mnist.mar"])
def test_torchserves_archives_are_refused_by_their_name(tmp_path: Path, name: str) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.properties").write_text("model_snapshot={}")
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(archive(mnist_cnn_dot_pt=b"x"))
    with pytest.raises(FormatNotSupported, match=r"mnist\.mar is a torchserve model; .* the handler inside needs"):
        find_model(tmp_path)


def test_declared_format_must_be_the_found_one(tmp_path: Path, classifier: Any) -> None:
    joblib.dump(classifier, tmp_path / "model.joblib")
    with pytest.raises(FormatNotSupported, match="is a sklearn model, but modelFormat says xgboost"):
        find_model(tmp_path, "xgboost")


@pytest.mark.parametrize(
    ("name", "data", "fault"),
    [
        ("model.joblib", b"", "is empty"),
        ("model.joblib", b"hello, world", "no pickle or joblib file"),
        ("model.skops", b"hello, world", "not a zip archive"),
        ("model.skops", archive(other=b"x"), r"no schema\.json"),
        ("model.skops", archive(schema_dot_json=json.dumps({}).encode())[:40], "damaged archive"),
    ],
    ids=["empty", "text", "text-skops", "other-zip", "cut-zip"],
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, data: bytes, fault: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CorruptModel, match=fault):
        find_model(tmp_path / name)
