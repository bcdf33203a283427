"""The one model of this predictor, under its name: loads it, and asks it on behalf of the protocols."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zeroflow.artifacts import Stores
from zeroflow.functions.predictor.errors import BadRequest, ModelFailed, UnknownModel
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.models.estimator import Estimator
from zeroflow.models.trust import Word

if TYPE_CHECKING:
    import numpy as np

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Served:
    """A loaded model and how it is called by clients."""

    name: str
    estimator: Estimator
    version: str | None = None
    probabilities: bool = False

    def check_name(self, name: str, version: str | None = None) -> None:
        """Raise UnknownModel unless this model, and this version of it, is served here."""
        if name != self.name:
            raise UnknownModel(f"Model with name {name} does not exist; this predictor serves {self.name}.")
        if version is not None and version != self.version:
            known = f"it serves version {self.version}" if self.version else "this predictor's models have no versions"
            raise UnknownModel(f"Model {name} has no version {version}; {known}.")

    def ask(self, method: str, rows: Any) -> "np.ndarray[Any, Any]":
        """Return the model's answer; BadRequest for rows that the model refuses, ModelFailed for anything else."""
        try:
            return self.estimator.call(method, rows)
        except ValueError as error:
            raise BadRequest(f"the model refuses these rows: {' '.join(str(error).split())[:500]}") from error
        except Exception as error:
            logger.exception("model %s failed in %s", self.name, method)
            raise ModelFailed(
                f"the model failed: {type(error).__name__}; the predictor's log has the details"
            ) from error


def load(settings: PredictorSettings) -> Served:
    """Fetch, approve and load the model that the settings name; raise a ZeroflowError saying why not."""
    from zeroflow.models.loading import load as load_model

    word = Word(settings.sha256, settings.vouched_by)
    stores = Stores(settings.store, settings.s3_endpoint)
    estimator = load_model(stores, settings.storage_uri, word, settings.model_format, settings.scratch)
    _check_width(settings, estimator)
    return Served(settings.model_name, estimator, settings.model_version, settings.probabilities)


def _check_width(settings: PredictorSettings, estimator: Estimator) -> None:
    if settings.probabilities and "predict_proba" not in estimator.methods:
        from zeroflow.models.errors import FormatNotSupported

        raise FormatNotSupported(f"PREDICT_PROBA is set, but a {estimator.kind} has no predict_proba")
