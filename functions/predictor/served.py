"""The one model of this predictor, under its name: loads it, and asks it on behalf of the protocols."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from zeroflow.artifacts import Stores
from zeroflow.functions.predictor.errors import BadRequest, ModelFailed, UnknownModel
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.models.estimator import Estimator
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)

T = TypeVar("T")

QUICK_S = 200e-6


@dataclass(frozen=True)
class Served:
    """A loaded model and how it is called by clients."""

    name: str
    model: Estimator | TensorModel
    version: str | None = None
    probabilities: bool = False
    is_quick: bool = False
    """Whether a prediction of one row takes less than QUICK_S, so that no thread is worth its while."""

    def check_name(self, name: str, version: str | None = None) -> None:
        """Raise UnknownModel unless this model, and this version of it, is served here."""
        if name != self.name:
            raise UnknownModel(f"Model with name {name} does not exist; this predictor serves {self.name}.")
        if version is not None and version != self.version:
            known = f"it serves version {self.version}" if self.version else "this predictor's models have no versions"
            raise UnknownModel(f"Model {name} has no version {version}; {known}.")

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what can be asked for."""
        if isinstance(self.model, TensorModel):
            return tuple(output.name for output in self.model.outputs)
        return self.model.methods

    @property
    def default_outputs(self) -> tuple[str, ...]:
        """What a V2 request gets that names no outputs."""
        if isinstance(self.model, TensorModel):
            return self.outputs
        return ("predict_proba",) if self.probabilities else ("predict",)

    def ask(self, method: str, rows: Any) -> "np.ndarray[Any, Any]":
        """Return a matrix model's answer; BadRequest for rows that it refuses, ModelFailed for anything else."""
        assert isinstance(self.model, Estimator)
        return self._guarded(self.model.call, method, rows)

    def run(self, given: Any, outputs: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        """Return a tensor model's outputs, with the same errors."""
        assert isinstance(self.model, TensorModel)
        return self._guarded(self.model.run, given, outputs)

    def _guarded(self, call: Callable[..., T], *arguments: object) -> T:
        try:
            return call(*arguments)
        except ValueError as error:
            raise BadRequest(f"the model refuses these rows: {' '.join(str(error).split())[:500]}") from error
        except Exception as error:
            logger.exception("model %s failed", self.name)
            raise ModelFailed(
                f"the model failed: {type(error).__name__}; the predictor's log has the details"
            ) from error


def load(settings: PredictorSettings) -> Served:
    """Fetch, approve and load the model that the settings name; raise a ZeroflowError saying why not."""
    from zeroflow.models.loading import load as load_model

    word = Word(settings.sha256, settings.vouched_by)
    stores = Stores(settings.store, settings.s3_endpoint)
    model = load_model(stores, settings.storage_uri, word, settings.model_format, settings.scratch, settings.compiling)
    if settings.probabilities and (isinstance(model, TensorModel) or "predict_proba" not in model.methods):
        from zeroflow.models.errors import FormatNotSupported

        raise FormatNotSupported(f"PREDICT_PROBA is set, but a {model.kind} has no predict_proba")
    logger.info("model %s (%s) is served: %s", settings.model_name, model.kind, model.serves)
    return Served(settings.model_name, model, settings.model_version, settings.probabilities, _is_quick(model))


def _is_quick(model: Estimator | TensorModel) -> bool:
    if isinstance(model, TensorModel) or not model.fast or model.width is None:
        return False
    import numpy as np

    row, best = np.zeros((1, model.width)), float("inf")
    for method in model.fast.values():
        method(row)
        began = time.perf_counter()
        method(row)
        best = min(best, time.perf_counter() - began)
    return best < QUICK_S
