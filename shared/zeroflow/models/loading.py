"""From a location to a model in memory.

Guarantees: the bytes are copied to a private directory, identified, hashed and approved there, and loaded from there;
whatever is wrong is a `ModelRefused` or `NotVouched` in one line; the copy is gone afterwards.
"""

import importlib
import logging
import tempfile
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import NotFound
from zeroflow.models import boosters, graphs, python, scikit, torchimport, triton, trust
from zeroflow.models.directories import find_model
from zeroflow.models.errors import CorruptModel, FormatNotSupported, ModelRefused, NoModel, UntrustedTypes
from zeroflow.models.estimator import Estimator
from zeroflow.models.formats import SKLEARN, TRITON, ModelFile
from zeroflow.models.huggingface.options import AS_IT_IS, TextOptions
from zeroflow.models.python import PythonModel
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

logger = logging.getLogger(__name__)

Model = Estimator | TensorModel | PythonModel


@dataclass(frozen=True)
class _How:
    """How a model is loaded, whatever it is."""

    private: Any
    """The directory that holds it."""
    compiling: bool
    texts: TextOptions


READERS = {"tensorflow": "savedmodel", "pmml": "markup"}
"""The modules that read what needs a library of its own, imported when a model of the format comes."""
COMPILED = (SKLEARN, "mlflow", "xgboost")
REMEMBERED = ("pickle", "torchscript")
"""The encodings that can be read without their libraries."""


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
    texts: TextOptions = AS_IT_IS,
) -> tuple[Model, str | None]:
    """Do the same, and return the version as well: the highest of a directory of numbered ones, else None.

    `memory` is a directory that remembers which models were compiled, so that it is sooner done again; `texts` says how
    a Hugging Face model is served.
    """
    private = tempfile.TemporaryDirectory(prefix="model-", dir=scratch)
    kept = False
    try:
        copy = Path(private.name) / _name_of(uri)
        try:
            stores.fetch(uri, copy)
        except NotFound as error:
            raise NoModel(str(error)) from error
        how = _How(private, compiling, texts)
        if declared == TRITON:
            loaded, version = _of_repository(copy, word, how, memory)
        else:
            version = _latest_version(copy)
            model = find_model(copy if version is None else copy / version, declared)
            loaded = _loaded(model, trust.check(copy, model, word), how, memory)
        # A Python class may read its files whenever it likes, a network that is remembered when it is first needed.
        kept = isinstance(loaded, PythonModel) or (isinstance(loaded, TensorModel) and loaded.keeps is private)
        return loaded, version
    finally:
        if not kept:
            private.cleanup()


def _of_repository(place: Path, word: Word, how: _How, memory: Path | None) -> tuple[Model, str | None]:
    """Load one model of a Triton repository, under the names that its configuration gives to what it takes."""
    if not place.is_dir():
        raise NoModel(f"{place.name} is no model of a repository: expected a directory with {place.name}/1")
    config = triton.config_of(place)
    version = triton.version_of(place, config)
    model = find_model(triton.place_of(place / version))
    return triton.named(_loaded(model, trust.check(place, model, word), how, memory), config), version


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


def _loaded(model: ModelFile, sha256: str, how: _How, memory: Path | None) -> Model:
    """Load a model in the form in which it is served; `memory` knows those that were compiled before."""
    if not how.compiling or memory is None or model.encoding not in REMEMBERED:
        return _compiled(model, sha256, how)
    from zeroflow.models.compiled import remembered

    known = remembered.recall(memory, model.path, sha256, partial(_read, model, sha256, replace(how, compiling=False)))
    if known is not None:
        return replace(known, keeps=how.private) if isinstance(known, TensorModel) else known
    loaded = _compiled(model, sha256, how)
    if isinstance(loaded, Estimator | TensorModel) and loaded.parts:
        remembered.keep(memory, model.path, loaded)
    return loaded


def _compiled(model: ModelFile, sha256: str, how: _How) -> Model:
    loaded = _read(model, sha256, how)
    if isinstance(loaded, Estimator) and how.compiling and model.format in COMPILED:
        return loaded.compiled()
    return loaded


def _read(model: ModelFile, sha256: str, how: _How) -> Model:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = _reader(model, sha256, how)
    except ModelRefused:
        raise
    except ModuleNotFoundError as error:
        raise CorruptModel(
            f"{model.path.name} needs the Python module {error.name!r}, which is not installed"
        ) from error
    except MemoryError as error:
        raise CorruptModel(f"{model.path.name} does not fit into the memory of this process") from error
    except (Exception, SystemExit) as error:  # damaged pickles raise anything, and scripts end themselves
        raise CorruptModel(f"{model.path.name} cannot be loaded: {_one_line(error)}") from error
    for warning in caught:
        logger.warning("%s: %s", model.path.name, _one_line(warning.message))
    return loaded


def _reader(model: ModelFile, sha256: str, how: _How) -> Model:
    if model.encoding != "torchscript":
        torchimport.complete()
    match model.format:
        case "xgboost" | "lightgbm":
            return boosters.read(model.path, model.format, sha256)
        case "onnx":
            return graphs.read(model.path, sha256)
        case "pytorch":
            torches = importlib.import_module("zeroflow.models.torches")
            return torches.read(model, sha256, how.compiling)  # type: ignore[no-any-return]
        case "python":
            return python.read(model, sha256, how.private)
        case "huggingface":
            reading = importlib.import_module("zeroflow.models.huggingface.reading")
            return reading.read(model.path, sha256, how.texts)  # type: ignore[no-any-return]
        case "tensorflow" | "pmml":
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

    scikit.import_lightly(path.read_bytes())
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
