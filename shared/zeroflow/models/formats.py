"""Which format a model is, told from its files: their first bytes and, where those say nothing, their names.

Reads a few bytes and never runs anything. Formats that are recognised but not served are known by name, so that a
refusal tells a user what the file is and what to do. What a whole directory is: `zeroflow.models.directories`.

Sources: KServe sklearn server (model.joblib, .pkl, .pickle); the formats' own headers: pickle protocols 2-5, zlib,
gzip, bzip2, xz, lz4 (joblib's compressors), zip (skops, torch.save, Keras, NumPy), HDF5, GGUF, safetensors, UBJSON,
ONNX (protobuf).
"""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from zeroflow.models.errors import CorruptModel

HEAD_BYTES = 512
MOST_TIMES, MOST_BYTES = 100, 64 << 20
"""What is inside a zip archive may be so many times as large as the archive, or so large anyway: numbers do not pack
better, a bomb does."""
MAX_SCHEMA_BYTES = 32 << 20

SKLEARN = "sklearn"
SERVED = (
    SKLEARN,
    "xgboost",
    "lightgbm",
    "onnx",
    "pytorch",
    "huggingface",
    "mlflow",
    "tensorflow",
    "pmml",
    "python",
)
"""The formats (KServe's names of `modelFormat`, and `python` for a class of one's own) that the predictor loads."""

TRITON = "triton"
LOADED = (*SERVED, TRITON)
"""Those, and Triton's: not what a file is, but how a repository of models is laid out (zeroflow.models.triton)."""

WITH_TORCH = ("pytorch", "huggingface", TRITON)
"""Those that may need PyTorch: gigabytes, which images for the others do without."""

INSTEAD = {
    "paddle": "export it with paddle2onnx",
    "keras": "save it as a TensorFlow SavedModel (model.export) or convert it with tf2onnx",
    "gguf": "save it as a Hugging Face directory with safetensors",
    "safetensors": "add the config.json of a Hugging Face model, or a .py file with the torch.nn.Module that it fills",
    "catboost": 'save it with save_model(..., format="onnx")',
    "tensorrt": "serve the ONNX graph that it was built from",
    "torchserve": "the handler inside needs TorchServe; for our predictor save the program alone (torch.jit.save, "
    "torch.export.save), or the .py file with the torch.nn.Module beside its weights",
    "tflite": "convert it with tf2onnx --tflite",
    "graphdef": "convert it with tf2onnx --graphdef",
}
"""What to do with a model of a format that is not served."""

_PICKLE_NAMES = (".joblib", ".pkl", ".pickle", ".cloudpickle")
_OTHER_NAMES = {
    ".onnx": "onnx",
    ".bst": "xgboost",
    ".ubj": "xgboost",
    ".pmml": "pmml",
    ".pdmodel": "paddle",
    ".pdiparams": "paddle",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".mar": "torchserve",
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".h5": "keras",
    ".keras": "keras",
    ".cbm": "catboost",
    ".tflite": "tflite",
    ".plan": "tensorrt",
    ".graphdef": "graphdef",
}
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18", b"ZF")
"""How a joblib file begins that was written with `compress=`: zlib, gzip, bz2, xz, lzma, lz4, joblib's old format."""

RUNS_CODE = ("pickle", "torchscript", "torch-export", "state-dict", "class", "pyfunc", "savedmodel")


@dataclass(frozen=True)
class ModelFile:
    """One model: what it is and where."""

    path: Path
    """The file that tells the format: the model itself, or the marker of its directory."""
    format: str
    """The name that `modelFormat` gives it: sklearn, onnx, xgboost, ..."""
    encoding: str
    """How the format's object is stored: pickle, skops, torchscript, torch-export, state-dict, weights, class, pyfunc,
    savedmodel, or native."""
    class_name: str | None = None
    """The class in `path`, for the encodings `class` and `state-dict`."""
    weights: Path | None = None
    """The file that a `state-dict` comes from."""

    @property
    def is_pickle(self) -> bool:
        """Whether loading it runs whatever code its author put in: a pickle, Python code, a program of a framework."""
        return self.encoding in RUNS_CODE

    @property
    def what(self) -> str:
        """What it is, in a sentence such as `model.pkl is a pickle`."""
        return {
            "pickle": "pickle",
            "class": "Python class",
            "state-dict": "Python class",
            "pyfunc": "MLflow model with Python code",
            "savedmodel": "TensorFlow program",
        }.get(self.encoding, "PyTorch program")


def identify(path: Path) -> ModelFile | None:
    """Say what a file is; None when it is no model of a known format."""
    suffix, head = path.suffix.lower(), head_of(path)
    if not head:
        if suffix in _PICKLE_NAMES or suffix in _OTHER_NAMES or suffix == ".skops":
            raise CorruptModel(f"{path.name} is empty")
        return None
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path, suffix)
    if native := _native_format(head, suffix):
        return ModelFile(path, native, "native")
    if _begins_pickle(head) or (suffix in _PICKLE_NAMES and head.startswith(_COMPRESSED)):
        if suffix in (".pt", ".pth"):
            return ModelFile(path, "pytorch", "weights")
        return ModelFile(path, SKLEARN, "pickle")
    if suffix in _PICKLE_NAMES:
        raise CorruptModel(f"{path.name} is no pickle or joblib file: it begins with {head[:16]!r}")
    if suffix == ".skops":
        raise CorruptModel(f"{path.name} is no skops file: it is not a zip archive")
    if head.startswith(_COMPRESSED) and not suffix:
        return ModelFile(path, SKLEARN, "pickle")
    other = _OTHER_NAMES.get(suffix)
    return ModelFile(path, other, "native") if other else None


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def _begins_pickle(head: bytes) -> bool:
    return len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5


def _native_format(head: bytes, suffix: str) -> str | None:
    if head.startswith(b"\x89HDF\r\n"):
        return "keras"
    if head.startswith(b"GGUF"):
        return "gguf"
    if head.startswith(b"tree\nversion="):
        return "lightgbm"
    if head.startswith((b"{L", b"binf")) or head.lstrip().startswith(b'{"learner"'):
        return "xgboost"
    if len(head) > 9 and int.from_bytes(head[:8], "little") < 1 << 30 and head[8:10] == b'{"':
        return "safetensors"
    if b"<PMML" in head:
        return "pmml"
    if suffix == "" and head[0] == 0x08 and head[1] < 16 and b"\x12" in head[:4]:
        return "onnx"  # field 1 of ModelProto, ir_version, then field 2, producer_name
    return None


def _check_size(path: Path, archive: zipfile.ZipFile) -> None:
    """Raise CorruptModel for an archive that would fill the memory; zipfile unpacks no more than a member says."""
    total = sum(info.file_size for info in archive.infolist())
    if total > max(MOST_BYTES, MOST_TIMES * path.stat().st_size):
        raise CorruptModel(f"{path.name} holds {total} bytes, more than {MOST_TIMES} times its own size")
    if archive.getinfo("schema.json").file_size > MAX_SCHEMA_BYTES:
        raise CorruptModel(f"{path.name} has a schema.json of more than {MAX_SCHEMA_BYTES} bytes")


def _identify_zip(path: Path, suffix: str) -> ModelFile | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if suffix == ".mar" or "MAR-INF/MANIFEST.json" in names:
                return ModelFile(path, "torchserve", "native")
            if "schema.json" in names:
                _check_size(path, archive)
                json.loads(archive.read("schema.json"))
                return ModelFile(path, SKLEARN, "skops")
    except (zipfile.BadZipFile, zlib.error, ValueError, KeyError, OSError, NotImplementedError, RuntimeError) as error:
        raise CorruptModel(f"{path.name} is a damaged archive: {error}") from error
    if any(name.endswith("/models/model.json") for name in names):
        return ModelFile(path, "pytorch", "torch-export")
    if any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names):
        return ModelFile(path, "pytorch", "torchscript")
    if any(name.endswith("data.pkl") for name in names):
        return ModelFile(path, "pytorch", "weights")
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return ModelFile(path, "keras", "native")
    if suffix in _PICKLE_NAMES or suffix == ".skops":
        raise CorruptModel(f"{path.name} is a zip archive, but no skops file: it has no schema.json")
    return ModelFile(path, _OTHER_NAMES[suffix], "native") if suffix in _OTHER_NAMES else None
