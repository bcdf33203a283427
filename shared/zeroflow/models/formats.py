"""Which format a model file is, told from its first bytes and, where those say nothing, from its name.

Reads a few bytes and never runs anything. Formats that are recognised but not served are named in the refusal, so
that a user learns what the file is. Hidden files and files of no known format (a README, requirements.txt) do not
count.

Sources: KServe sklearn server (model.joblib, .pkl, .pickle); the formats' own headers: pickle protocols 2-5, zlib,
gzip, bzip2, xz, lz4 (joblib's compressors), zip (skops, torch.save, Keras, NumPy), HDF5, GGUF, safetensors, UBJSON,
ONNX (protobuf).
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path

from zeroflow.models.errors import AmbiguousModel, CorruptModel, FormatNotSupported, NoModel

HEAD_BYTES = 512

SKLEARN = "sklearn"
SERVED = (SKLEARN, "xgboost", "lightgbm", "onnx", "pytorch")
"""The formats (KServe's names of `modelFormat`) that the predictor loads."""

_PICKLE_NAMES = (".joblib", ".pkl", ".pickle", ".cloudpickle")
_OTHER_NAMES = {
    ".onnx": "onnx",
    ".bst": "xgboost",
    ".ubj": "xgboost",
    ".pmml": "pmml",
    ".pdmodel": "paddle",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".pt2": "pytorch",
    ".mar": "pytorch",
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".h5": "keras",
    ".keras": "keras",
    ".cbm": "catboost",
    ".tflite": "tensorflow",
    ".plan": "tensorrt",
}
_COMPRESSED = (b"\x78", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x5d\x00\x00", b"\x04\x22\x4d\x18", b"ZF")
"""How a joblib file begins that was written with `compress=`: zlib, gzip, bz2, xz, lzma, lz4, joblib's old format."""
_DIRECTORIES = {
    "MLmodel": "mlflow",
    "saved_model.pb": "tensorflow",
    "config.json": "huggingface",
    "model-settings.json": "mlserver",
}


@dataclass(frozen=True)
class ModelFile:
    """One model file: what it is and where."""

    path: Path
    format: str
    """The name that `modelFormat` gives it: sklearn, onnx, xgboost, ..."""
    encoding: str
    """How the format's object is stored: pickle, skops, torchscript, torch-export, or native."""

    @property
    def is_pickle(self) -> bool:
        """Whether loading it runs whatever code its author put in: a pickle, or a program that torch runs."""
        return self.encoding in ("pickle", "torchscript", "torch-export")


def find_model(root: Path, declared: str | None = None) -> ModelFile:
    """Return the one model at `root`, a file or a directory, that this release serves.

    Raises NoModel, AmbiguousModel, CorruptModel, or FormatNotSupported - also when it is not what `declared` says.
    """
    found = _only_model(root)
    if found.format not in SERVED:
        raise FormatNotSupported(
            f"{found.path.name} is a {found.format} model; formats served now: {', '.join(SERVED)}"
        )
    if found.format == "pytorch" and found.encoding not in ("torchscript", "torch-export"):
        raise FormatNotSupported(
            f"{found.path.name} holds PyTorch weights without a program; save it with torch.jit.save or "
            "torch.export.save"
        )
    if declared is not None and declared != found.format:
        raise FormatNotSupported(f"{found.path.name} is a {found.format} model, but modelFormat says {declared}")
    return found


def _only_model(root: Path) -> ModelFile:
    if root.is_file():
        found = identify(root)
        if found is None:
            raise FormatNotSupported(f"{root.name} is no model of a known format: it begins with {_head(root)[:16]!r}")
        return found
    if not root.is_dir():
        raise NoModel(f"there is no model: {root.name} is neither a file nor a directory")
    files = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    for marker, format_name in _DIRECTORIES.items():
        if (root / marker).is_file():
            return ModelFile(root / marker, format_name, "native")
    models = [found for path in files if (found := identify(path)) is not None]
    if not models:
        names = ", ".join(path.name for path in files[:5]) or "nothing"
        raise NoModel(
            f"the directory holds no model file: expected one such as model.joblib, .ubj or .onnx, found {names}"
        )
    if len(models) > 1:
        names = ", ".join(found.path.name for found in models[:5])
        raise AmbiguousModel(f"the directory holds {len(models)} models, expected one: {names}")
    return models[0]


def identify(path: Path) -> ModelFile | None:
    """Say what a file is; None when it is no model of a known format."""
    suffix, head = path.suffix.lower(), _head(path)
    if not head:
        if suffix in _PICKLE_NAMES or suffix in _OTHER_NAMES or suffix == ".skops":
            raise CorruptModel(f"{path.name} is empty")
        return None
    if head.startswith(b"PK\x03\x04"):
        return _identify_zip(path, suffix)
    if native := _native_format(head, suffix):
        return ModelFile(path, native, "native")
    if _begins_pickle(head) or (suffix in _PICKLE_NAMES and head.startswith(_COMPRESSED)):
        return ModelFile(path, SKLEARN if suffix not in (".pt", ".pth") else "pytorch", "pickle")
    if suffix in _PICKLE_NAMES:
        raise CorruptModel(f"{path.name} is no pickle or joblib file: it begins with {head[:16]!r}")
    if suffix == ".skops":
        raise CorruptModel(f"{path.name} is no skops file: it is not a zip archive")
    if head.startswith(_COMPRESSED) and not suffix:
        return ModelFile(path, SKLEARN, "pickle")
    other = _OTHER_NAMES.get(suffix)
    return ModelFile(path, other, "native") if other else None


def _head(path: Path) -> bytes:
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


def _identify_zip(path: Path, suffix: str) -> ModelFile | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            if "schema.json" in names:
                json.loads(archive.read("schema.json"))
                return ModelFile(path, SKLEARN, "skops")
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, NotImplementedError, RuntimeError) as error:
        raise CorruptModel(f"{path.name} is a damaged archive: {error}") from error
    if any(name.endswith("/models/model.json") for name in names):
        return ModelFile(path, "pytorch", "torch-export")
    if any("/code/" in name for name in names) and any(name.endswith("/constants.pkl") for name in names):
        return ModelFile(path, "pytorch", "torchscript")
    if any(name.endswith("data.pkl") for name in names):
        return ModelFile(path, "pytorch", "pickle")
    if "config.json" in names and any(name.endswith(".h5") for name in names):
        return ModelFile(path, "keras", "native")
    if suffix in _PICKLE_NAMES or suffix == ".skops":
        raise CorruptModel(f"{path.name} is a zip archive, but no skops file: it has no schema.json")
    return ModelFile(path, _OTHER_NAMES[suffix], "native") if suffix in _OTHER_NAMES else None
