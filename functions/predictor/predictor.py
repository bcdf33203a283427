"""A predictor's parts, put together once: its models, who is told of answers, what is measured."""

from dataclasses import dataclass, field

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor import refusals, served
from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import STATUS
from zeroflow.functions.predictor.metrics import Metrics
from zeroflow.functions.predictor.repository import Repository
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.witness import Witness


@dataclass
class Predictor:
    """What the HTTP edge serves."""

    settings: PredictorSettings
    repository: Repository
    metrics: Metrics
    witness: Witness
    answers: dict[str, Answers] = field(default_factory=dict)
    """Of every model that is served now."""

    @classmethod
    def start(cls, settings: PredictorSettings) -> "Predictor":
        """Load what the settings name; raise a ZeroflowError when the one model cannot be loaded."""
        repository = Repository(lambda name: _load(settings, name), lambda: served.names(settings))
        predictor = cls(settings, repository, Metrics(), Witness.of(settings))
        repository.changed = predictor.refresh
        if predictor.witness.log is not None:
            predictor.metrics.watch(predictor.witness.log)
        if settings.multi_model:
            repository.load_all()
        else:
            repository.load(settings.model_name)
        return predictor

    def refresh(self) -> None:
        """Answer with the models that are served now."""
        kept = {id(each.served): each for each in self.answers.values()}
        self.answers = {
            each.name: kept.get(id(each)) or Answers(each, self.metrics.recorder(each.name))
            for each in self.repository.served
        }

    def answers_of(self, name: str, version: str | None = None) -> Answers:
        """Return what answers for a model; raise UnknownModel or ModelNotReady."""
        asked = self.repository.get(name, version)
        found = self.answers.get(name)
        return found if found is not None and found.served is asked else Answers(asked, self.metrics.recorder(name))


def _load(settings: PredictorSettings, name: str) -> served.Served:
    try:
        return served.load(settings, name)
    except ZeroflowError as error:
        refusals.tell(settings, name, error)
        raise


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    return STATUS.get(error.reason, 500) if isinstance(error, ZeroflowError) else 500
