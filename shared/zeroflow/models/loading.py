"""From a location to a model in memory.

Guarantees: the bytes are copied to a private directory, identified, hashed and approved there, and loaded from there;
whatever is wrong is a `ModelRefused` or `NotVouched` in one line; the copy is gone afterwards.
"""

import importlib
import logging
import tempfile
import warnings
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import NotFound
from zeroflow.models import boosters, graphs, python, trust
from zeroflow.models.directories import find_model
from zeroflow.models.errors import CorruptModel, FormatNotSupported, ModelRefused, NoModel, UntrustedTypes
from zeroflow.models.estimator import Estimator
from zeroflow.models.formats import SKLEARN, ModelFile
from zeroflow.models.python import PythonModel
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

logger = logging.getLogger(__name__)

Model = Estimator | TensorModel | PythonModel

READERS = {"huggingface": "huggingface", "tensorflow": "savedmodel", "pmml": "markup"}
"""The modules that read what needs a library of its own, imported when a model of the format comes."""
COMPILED = (SKLEARN, "mlflow", "xgboost")


def load(
    stores: Stores,
    uri: str,
    word: Word,
    declared: str | None = None,
    scratch: Path | None = None,
    compiling: bool = False,
) -> Model:
    """Fetch, approve and load the model at `uri`; `declared` is the modelFormat it must have.

    With `compiling`, a cheaper form with the same answers takes its place where there is one.
    """
    return load_versioned(stores, uri, word, declared, scratch, compiling)[0]


def load_versioned(
    stores: Stores,
    uri: str,
    word: Word,
    declared: str | None = None,
    scratch: Path | None = None,
    compiling: bool = False,
    memory: Path | None = None,
) -> tuple[Model, str | None]:
    """Do the same, and return the version as well: the highest of a directory of numbered ones, else None.

    `memory` is a directory that remembers which models were compiled, so that it is sooner done again.
    """
    private = tempfile.TemporaryDirectory(prefix="model-", dir=scratch)
    kept = False
    try:
        copy = Path(private.name) / _name_of(uri)
        try:
            stores.fetch(uri, copy)
        except NotFound as error:
            raise NoModel(str(error)) from error
        version = _latest_version(copy)
        model = find_model(copy if version is None else copy / version, declared)
        sha256 = trust.check(copy, model, word)
        if compiling and memory is not None and model.encoding == "pickle":
            from zeroflow.models.compiled import remembered

            if (known := remembered.recall(memory, model.path, sha256)) is not None:
                return known, version
        loaded = _read(model, sha256, private, compiling)
        kept = isinstance(loaded, PythonModel)  # it may read its files whenever it likes
        if isinstance(loaded, Estimator) and compiling and model.format in COMPILED:
            loaded = loaded.compiled()
            if memory is not None and loaded.parts:
                from zeroflow.models.compiled import remembered

                remembered.keep(memory, loaded)
        return loaded, version
    finally:
        if not kept:
            private.cleanup()


def directories(stores: Stores, uri: str, scratch: Path | None = None) -> list[str]:
    """Return the names of the directories directly below a location, hidden ones left out."""
    local = stores.local_path(uri)
    if local is not None:
        return _directories(local)
    with tempfile.TemporaryDirectory(prefix="models-", dir=scratch) as private:
        stores.fetch(uri, Path(private) / "all")
        return _directories(Path(private) / "all")


def _directories(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _latest_version(root: Path) -> str | None:
    """Return the highest number when a directory holds numbered directories and nothing else."""
    if not root.is_dir():
        return None
    entries = [path for path in root.iterdir() if not path.name.startswith(".")]
    numbered = [path.name for path in entries if path.is_dir() and path.name.isascii() and path.name.isdecimal()]
    return max(numbered, key=int) if numbered and len(numbered) == len(entries) else None


def _name_of(uri: str) -> str:
    """Keep the last part of the location, whose ending may say the format."""
    return uri.rstrip("/").rpartition("/")[2] or "model"


def _read(model: ModelFile, sha256: str, private: Any, compiling: bool) -> Model:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = _reader(model, sha256, private, compiling)
    except ModelRefused:
        raise
    except ModuleNotFoundError as error:
        raise CorruptModel(
            f"{model.path.name} needs the Python module {error.name!r}, which is not installed"
        ) from error
    except MemoryError as error:
        raise CorruptModel(f"{model.path.name} does not fit into the memory of this process") from error
    except Exception as error:  # damaged pickles raise anything
        raise CorruptModel(f"{model.path.name} cannot be loaded: {_one_line(error)}") from error
    for warning in caught:
        logger.warning("%s: %s", model.path.name, _one_line(warning.message))
    return loaded


def _reader(model: ModelFile, sha256: str, private: Any, compiling: bool) -> Model:
    match model.format:
        case "xgboost" | "lightgbm":
            return boosters.read(model.path, model.format, sha256)
        case "onnx":
            return graphs.read(model.path, sha256)
        case "pytorch":
            torches = importlib.import_module("zeroflow.models.torches")
            return torches.read(model, sha256, compiling)  # type: ignore[no-any-return]
        case "python":
            return python.read(model, sha256, private)
        case "huggingface" | "tensorflow" | "pmml":
            module = importlib.import_module(f"zeroflow.models.{READERS[model.format]}")
            return module.read(model.path, sha256)  # type: ignore[no-any-return]
        case "mlflow":
            return _read_mlflow(model, sha256)
    found = _read_skops(model.path) if model.encoding == "skops" else _read_pickle(model.path)
    return Estimator.of(found, sha256)


def _read_mlflow(model: ModelFile, sha256: str) -> Model:
    from zeroflow.models import mlflow

    known = mlflow.flavours(model.path)
    if "onnx" in known:
        return graphs.read(mlflow.file_of(model.path, "onnx"), sha256)
    if "sklearn" in known:
        path = mlflow.file_of(model.path, "sklearn")
        found = _read_skops(path) if path.suffix == ".skops" else _read_pickle(path)
        return Estimator.of(found, sha256)
    return mlflow.read(model.path, sha256)


def _read_pickle(path: Path) -> Any:
    import joblib

    return joblib.load(path)


def _read_skops(path: Path) -> Any:
    """Load a skops file; types that skops does not know to be harmless are refused, whoever vouches."""
    try:
        io: Any = importlib.import_module("skops.io")
    except ImportError as error:
        raise FormatNotSupported(f"{path.name} is a skops file; install skops to serve it") from error
    if unknown := io.get_untrusted_types(file=path):
        raise UntrustedTypes(f"{path.name} holds types that skops does not trust: {', '.join(sorted(unknown)[:5])}")
    return io.load(path)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name
