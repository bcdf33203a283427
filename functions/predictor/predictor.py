"""A predictor's parts, put together once: its models, who is told of answers, what is measured."""

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import STATUS, AnotherProcess, ModelNotReady, SomeDoNotFollow
from zeroflow.functions.predictor.models import served
from zeroflow.functions.predictor.models.repository import Repository
from zeroflow.functions.predictor.models.served import Source
from zeroflow.functions.predictor.models.siblings import Siblings, directory_of_revision
from zeroflow.functions.predictor.models.wanted import Wanted
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.telling import refusals
from zeroflow.functions.predictor.telling.metrics import Metrics
from zeroflow.functions.predictor.telling.sending import Sender
from zeroflow.functions.predictor.telling.teller import Teller
from zeroflow.functions.predictor.telling.witness import Witness
from zeroflow.models.formats import TRITON
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

if TYPE_CHECKING:
    from zeroflow.functions.predictor.models.trained import TrainedModels
    from zeroflow.inference.modelconfig import ConfiguredModel


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
    trained: "TrainedModels | None" = None
    """The models of a file that this process follows, from `join` on."""

    @classmethod
    def start(cls, settings: PredictorSettings) -> "Predictor":
        """Load what the settings name; raise a ZeroflowError when the one model cannot be loaded."""
        trained = _trained(settings)
        if trained is None:
            repository = Repository(
                lambda name: _load(settings, name, served.source_of(settings, name)), lambda: served.names(settings)
            )
        else:
            repository = Repository(
                lambda name: _load(settings, name, _source(trained.model(name))), trained.names, trained.version_of
            )
        predictor = cls(settings, repository, Metrics(), Witness.of(settings), trained=trained)
        repository.changed = predictor.refresh
        if (shared := directory_of_revision(settings)) is not None:
            repository.note_loaded(Wanted(shared).read())
        if predictor.witness.log is not None:
            predictor.metrics.watch(predictor.witness.log)
        if trained is not None:
            trained.read(repository)  # each is loaded when it is asked for, or nothing else is to be done
        elif settings.multi_model:
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
        if self.trained is not None:
            notes = self.siblings.directory if self.siblings is not None else None
            self.trained.begin(self.repository, self._is_unwanted, notes)

    def close(self) -> None:
        """Send what waits to be sent and leave the others; called once, when the process ends."""
        if self.trained is not None:
            self.trained.close()
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
            of = self.trained.version_of(name) if self.trained is not None else ""
            return self.siblings.wanted.record(name, loaded, of)
        except OSError as error:
            raise SomeDoNotFollow(f"what is wanted of model {name} cannot be kept for others: {error}") from error

    def _follow(self) -> dict[str, str]:
        assert self.siblings is not None
        return self.repository.follow(self.siblings.wanted.read())

    def _is_unwanted(self, name: str) -> bool:
        """Say whether the last that was asked of the present version of a model is to unload it."""
        assert self.trained is not None
        word = self.siblings.wanted.read().get(name) if self.siblings is not None else None
        return word is not None and not word.loaded and word.of == self.trained.version_of(name)

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
        """Return what answers for a model, when it is loaded; raise UnknownModel or ModelNotReady."""
        try:
            asked = self.repository.get(name, version)
        except ModelNotReady:
            if self.trained is None:
                raise
            self.trained.wait_for(name)
            asked = self.repository.get(name, version)
        found = self.answers.get(name)
        return found if found is not None and found.served is asked else Answers(asked, self.metrics.recorder(name))


def _load(settings: PredictorSettings, name: str, source: Source) -> served.Served:
    try:
        return served.load(settings, name, source)
    except ZeroflowError as error:
        refusals.tell(settings, name, source.uri, error)
        raise


def _trained(settings: PredictorSettings) -> "TrainedModels | None":
    if settings.trained_models is None:
        return None
    from zeroflow.functions.predictor.models import trained  # a predictor of one model has no use for it

    told = settings.observed
    sender = Sender(told.sink, told.token) if told is not None else None
    return trained.TrainedModels(settings.trained_models, Teller(settings.identity, sender, trained.KEPT))


def _source(model: "ConfiguredModel") -> Source:
    return Source(model.uri, Word(model.sha256, model.vouched_by), model.framework or None)


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error."""
    return STATUS.get(error.reason, 500) if isinstance(error, ZeroflowError) else 500
