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
from zeroflow.models import boosters, graphs, torches, trust
from zeroflow.models.errors import CorruptModel, FormatNotSupported, ModelRefused, NoModel
from zeroflow.models.estimator import Estimator
from zeroflow.models.formats import SKLEARN, ModelFile, find_model
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

logger = logging.getLogger(__name__)


def load(
    stores: Stores,
    uri: str,
    word: Word,
    declared: str | None = None,
    scratch: Path | None = None,
    compiling: bool = False,
) -> Estimator | TensorModel:
    """Fetch, approve and load the model at `uri`; `declared` is the modelFormat it must have.

    With `compiling`, a cheaper form with the same answers takes its place where there is one.
    """
    with tempfile.TemporaryDirectory(prefix="model-", dir=scratch) as private:
        copy = Path(private) / _name_of(uri)
        try:
            stores.fetch(uri, copy)
        except NotFound as error:
            raise NoModel(str(error)) from error
        model = find_model(copy, declared)
        sha256 = trust.check(copy, model, word)
        loaded = _read(model, sha256)
        return loaded.compiled() if isinstance(loaded, Estimator) and compiling and model.format == SKLEARN else loaded


def _name_of(uri: str) -> str:
    """Keep the last part of the location, whose ending may say the format."""
    return uri.rstrip("/").rpartition("/")[2] or "model"


def _read(model: ModelFile, sha256: str) -> Estimator | TensorModel:
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loaded = _reader(model, sha256)
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


def _reader(model: ModelFile, sha256: str) -> Estimator | TensorModel:
    if model.format in ("xgboost", "lightgbm"):
        return boosters.read(model.path, model.format, sha256)
    if model.format == "onnx":
        return graphs.read(model.path, sha256)
    if model.format == "pytorch":
        return torches.read(model.path, model.encoding, sha256)
    found = _read_skops(model.path) if model.encoding == "skops" else _read_pickle(model.path)
    return Estimator.of(found, sha256)


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
        raise FormatNotSupported(f"{path.name} holds types that skops does not trust: {', '.join(sorted(unknown)[:5])}")
    return io.load(path)


def _one_line(error: object) -> str:
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text[:300]}" if text else name
