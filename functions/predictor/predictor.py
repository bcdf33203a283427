"""A predictor's parts, put together once: its models, who is told of answers, what is measured."""

import os
from dataclasses import dataclass, field

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor import refusals, served
from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import STATUS, AnotherProcess, SomeDoNotFollow
from zeroflow.functions.predictor.metrics import Metrics
from zeroflow.functions.predictor.repository import Repository
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.siblings import Siblings, directory_of_revision
from zeroflow.functions.predictor.wanted import Wanted
from zeroflow.functions.predictor.witness import Witness
from zeroflow.models.formats import TRITON
from zeroflow.models.tensormodel import TensorModel


@dataclass
class Predictor:
    """What the HTTP edge serves."""

    settings: PredictorSettings
    repository: Repository
    metrics: Metrics
    witness: Witness
    answers: dict[str, Answers] = field(default_factory=dict)
    """Of every model that is served now."""
    siblings: Siblings | None = None
    """Those that follow what this process is asked to load or unload, from `join` on."""

    @classmethod
    def start(cls, settings: PredictorSettings) -> "Predictor":
        """Load what the settings name; raise a ZeroflowError when the one model cannot be loaded."""
        repository = Repository(lambda name: _load(settings, name), lambda: served.names(settings))
        predictor = cls(settings, repository, Metrics(), Witness.of(settings))
        repository.changed = predictor.refresh
        if (shared := directory_of_revision(settings)) is not None:
            repository.note_loaded(Wanted(shared).read())
        if predictor.witness.log is not None:
            predictor.metrics.watch(predictor.witness.log)
        if settings.multi_model:
            repository.load_all(strictly=settings.model_format == TRITON)  # as Triton does (--exit-on-error)
        else:
            repository.load(settings.model_name)
        return predictor

    def join(self) -> None:
        """Follow what the processes of this revision are asked, and do what they were asked before; called once,
        by the process that serves, before its first request. Raises AnotherProcess."""
        for each in self.repository.served:
            if isinstance(each.model, TensorModel) and each.model.only_in not in (None, os.getpid()):
                raise AnotherProcess("what is on a GPU does not survive a fork: start gunicorn without --preload")
        self.siblings = Siblings.join(self.settings, self._follow)
        if self.siblings is not None:
            self._follow()

    def close(self) -> None:
        """Send what waits to be sent and leave the others; called once, when the process ends."""
        if self.siblings is not None:
            self.siblings.leave()
        self.witness.close()

    def load(self, name: str) -> served.Served:
        """Load a model here, then in every sibling; raise what its loader raises, or SomeDoNotFollow."""
        found = self.repository.load(name, self._record)
        self._tell(f"model {name} is loaded")
        return found

    def unload(self, name: str) -> None:
        """Unload a model; when this returns, no process of this revision on this machine serves it.

        Raises UnknownModel, or SomeDoNotFollow.
        """
        self.repository.unload(name, self._record)
        self._tell(f"model {name} is unloaded")

    def _record(self, name: str, loaded: bool) -> int:
        if self.siblings is None:
            return 0
        try:
            return self.siblings.wanted.record(name, loaded)
        except OSError as error:
            raise SomeDoNotFollow(f"what is wanted of model {name} cannot be kept for others: {error}") from error

    def _follow(self) -> dict[str, str]:
        assert self.siblings is not None
        return self.repository.follow(self.siblings.wanted.read())

    def _tell(self, done: str) -> None:
        faults = self.siblings.tell() if self.siblings is not None else {}
        if faults:
            said = "; ".join(
                f"{sibling}: {' '.join(filter(None, (model, fault)))}"
                for sibling, each in faults.items()
                for model, fault in each.items()
            )
            raise SomeDoNotFollow(f"{done} in this process, but not in {len(faults)} others: {said}; send it again")

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
