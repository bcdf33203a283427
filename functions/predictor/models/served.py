"""A model under the name that clients call it by: loads it, and asks it on behalf of the protocols."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from zeroflow.artifacts import Stores
from zeroflow.functions.predictor.errors import BadRequest, ModelFailed, NoRoom
from zeroflow.functions.predictor.models.batching import Batcher
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.models.estimator import Estimator
from zeroflow.models.loading import Model, directories, load_versioned
from zeroflow.models.python import PythonModel
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

T = TypeVar("T")

QUICK_S = 200e-6
FLOATS = (["FP32"], ["FP64"])
UNTOLD = ("", "application/x-www-form-urlencoded")
"""What clients say of JSON that say nothing: the latter is curl's own."""


@dataclass(frozen=True)
class Served:
    """A loaded model and how it is called by clients."""

    name: str
    model: Model
    version: str | None = None
    probabilities: bool = False
    is_quick: bool = False
    """Whether a prediction of one row takes less than QUICK_S, so that no thread is worth its while."""
    uri: str | None = None
    """Where the model came from."""
    batcher: Batcher | None = None
    """Joins requests, where that is asked for and the model is not quicker than the joining."""

    @property
    def takes_floats(self) -> bool:
        """Whether rows of V1 are numbers that lose nothing as float64."""
        if isinstance(self.model, Estimator):
            return not (self.model.takes_text or self.model.text_columns)
        return isinstance(self.model, TensorModel) and [each.datatype for each in self.model.inputs] in FLOATS

    def takes_any(self, headers: Mapping[str, str]) -> bool:
        """Whether a V1 body of this content type is the model's own to read: a class gets what is no JSON as bytes."""
        if not isinstance(self.model, PythonModel) or self.model.style == "mlserver":
            return False
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        return not (kind in UNTOLD or kind == "application/json" or kind.endswith("+json"))

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what can be asked for."""
        if isinstance(self.model, Estimator):
            return self.model.methods
        return tuple(output.name for output in self.model.outputs)

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """What a V2 request gets that names no outputs."""
        if not isinstance(self.model, Estimator):
            return self.outputs
        return ("predict_proba",) if self.probabilities else ("predict",)

    def ask(self, method: str, rows: Any) -> "np.ndarray[Any, Any]":
        """Return a matrix model's answer; BadRequest for rows that it refuses, ModelFailed for anything else."""
        assert isinstance(self.model, Estimator)
        model = self.model
        if self.batcher is None:
            return self.guarded(model.call, method, rows)
        key = (method, rows.dtype.str, rows.shape[1:])
        given = {method: rows}
        found = self.guarded(self.batcher.ask, key, given, lambda joined: {method: model.call(method, joined[method])})
        return found[method]

    def run(self, given: Any, outputs: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        """Return a tensor model's outputs, with the same errors."""
        assert isinstance(self.model, TensorModel)
        model = self.model
        if self.batcher is None or len({array.shape[:1] for array in given.values()} | {()}) != 2:
            return self.guarded(model.run, given, outputs)
        key = (outputs, *((name, array.dtype.str, array.shape[1:]) for name, array in sorted(given.items())))
        return self.guarded(self.batcher.ask, key, given, lambda joined: model.run(joined, outputs))

    def guarded(self, call: Callable[..., T], *arguments: object) -> T:
        """Call the model; raise BadRequest when it refuses a request, NoRoom without memory, or ModelFailed."""
        try:
            return call(*arguments)
        except ValueError as error:
            raise BadRequest(f"the model refuses these rows: {_one_line(error)}") from error
        except MemoryError as error:
            logger.exception("model %s has no memory for a request", self.name)
            raise NoRoom("there is no memory for this request now; send fewer rows, or try again") from error
        except BaseException as error:  # SystemExit too: a model's code ends no process that serves others
            logger.exception("model %s failed", self.name)
            raise ModelFailed(
                f"the model failed: {type(error).__name__}; the predictor's log has the details"
            ) from error


def _one_line(error: object) -> str:
    """Return an error's words as text that can be sent, at most 500 characters."""
    return " ".join(str(error).split())[:500].encode(errors="replace").decode()


@dataclass(frozen=True)
class Source:
    """Where a model comes from, what it must be, and on whose word."""

    uri: str
    word: Word
    model_format: str | None = None
    version: str | None = None
    """The registered version, where there is one; else what the model's directory says."""


def source_of(settings: PredictorSettings, name: str) -> Source:
    """Return the source of a model that the settings name."""
    if settings.multi_model:
        uri = f"{settings.storage_uri.rstrip('/')}/{name}"
        return Source(uri, Word(None, settings.vouched_by), settings.model_format)
    word = Word(settings.sha256, settings.vouched_by)
    return Source(settings.storage_uri, word, settings.model_format, settings.model_version)


def load(settings: PredictorSettings, name: str, source: Source) -> Served:
    """Fetch, approve and load a model; raise a ZeroflowError saying why not."""
    stores = Stores(settings.store, settings.s3_endpoint)
    model, version = load_versioned(
        stores,
        source.uri,
        source.word,
        source.model_format,
        settings.scratch,
        settings.compiling,
        settings.memory,
        settings.texts,
    )
    if settings.probabilities and not (isinstance(model, Estimator) and "predict_proba" in model.methods):
        from zeroflow.models.errors import FormatNotSupported

        raise FormatNotSupported(f"PREDICT_PROBA is set, but a {model.kind} has no predict_proba")
    logger.info("model %s (%s) is served: %s", name, model.kind, model.serves)
    quick = _is_quick(model)
    joins = settings.batch_rows is not None and not quick and not isinstance(model, PythonModel)
    batcher = Batcher(settings.batch_rows or 0) if joins else None
    return Served(name, model, source.version or version, settings.probabilities, quick, source.uri, batcher)


def names(settings: PredictorSettings) -> list[str]:
    """Return the names of the models that the settings name, whether they can be loaded or not."""
    if not settings.multi_model:
        return [settings.model_name]
    return directories(Stores(settings.store, settings.s3_endpoint), settings.storage_uri, settings.scratch)


def _is_quick(model: Model) -> bool:
    """Say whether a model only computes, and little for a row; other ones prove it while they are asked (pace)."""
    import numpy as np

    calls: list[Callable[[], object]] = []
    if isinstance(model, Estimator) and model.width is not None:
        row = np.zeros((1, model.width))
        calls = [partial(method, row) for name, method in model.fast.items() if name == "predict"]
    elif isinstance(model, TensorModel) and model.width is not None:
        given = {model.inputs[0].name: np.zeros((1, model.width), dtype=np.float32)}
        calls = [partial(model.run, given, (model.outputs[0].name,))]
    best = float("inf")
    for call in calls:
        call()
        began = time.thread_time()  # however busy the machine is
        call()
        best = min(best, time.thread_time() - began)
    return best < QUICK_S
