"""The models of TrainedModels: a mounted file says which (zeroflow.inference.modelconfig), and this process follows it.

A thread looks at the file twice a second - a look costs two system calls, and works however the file is mounted - and
loads, exchanges and forgets one model at a time through the repository, as its calls do. Guarantees: what a request
waits for is loaded before what nobody has asked for, so that a predictor that was woken for one model does not load
all of them first; a model that cannot be loaded keeps no other away and leaves in place what is served under its name;
a location that does not answer is asked again, ever more seldom. Every process follows the file by itself, which
reaches the pods of every node.

The platform is told of every failure, and of a success that it does not know of (zeroflow.predictions.outcome): what
was told last is noted beside the words of operators (siblings.py), so that predictors which start again and again wake
nobody. A process that is to end first loads what the platform has not heard of, as far as its time allows: it may have
been started for that alone.

Source: KServe pkg/agent (watcher, puller), which loads a changed model after it has unloaded the one before.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.functions.predictor.errors import UnknownModel
from zeroflow.functions.predictor.models.repository import Repository
from zeroflow.functions.predictor.telling.teller import Teller
from zeroflow.inference import modelconfig
from zeroflow.inference.modelconfig import ConfiguredModel
from zeroflow.predictions.outcome import Outcome

logger = logging.getLogger(__name__)

EVERY_S = 0.5
AWAIT_S = 240.0
"""How long a request waits for its model; the host's own limit of a request is 300 s."""
AGAIN_S, AGAIN_AT_MOST_S = 1.0, 60.0
CLOSE_S, OWING_CLOSE_S = 2.0, 240.0
"""How long the end of the process waits for a loading, which may be one that the platform waits to hear of."""
KEPT = 1000
"""Outcomes that wait for a broker that does not answer."""


@dataclass
class _Again:
    at: float
    delay_s: float


class Notes:
    """Which versions the platform was told are loaded, as files of a directory; what cannot be noted is told again."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def get(self, name: str) -> str | None:
        """Return the version that was told of a model last."""
        try:
            return self._path(name).read_text()
        except OSError:
            return None

    def put(self, name: str, version: str) -> None:
        """Note a version, unless that was done."""
        if self.get(name) != version:
            with suppress(OSError):
                self._path(name).write_text(version)

    def drop(self, name: str) -> None:
        """Note that nothing is known of a model."""
        with suppress(OSError):
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self._directory / f"told-{name}"


class TrainedModels:
    """The file's models. `read` once before anything else, `begin` in the process that serves."""

    def __init__(self, path: Path, teller: Teller) -> None:
        self._path, self._teller = path, teller
        self._seen: tuple[int, ...] | None = None
        self._models: Mapping[str, ConfiguredModel] = {}
        self._done: dict[str, str] = {}
        """By model: the version whose loading has ended, one way or the other."""
        self._again: dict[str, _Again] = {}
        self._said: dict[str, tuple[str, str | None, str | None]] = {}
        """By model: version, reason and message of what this process told last."""
        self._notes: Notes | None = None
        self._asked: list[str] = []
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def model(self, name: str) -> ConfiguredModel:
        """Return what the file says of a model; raise UnknownModel when it says nothing."""
        found = self._models.get(name)
        if found is None:
            raise UnknownModel(f"Model with name {name} does not exist.")
        return found

    def names(self) -> list[str]:
        """Return the names of the file's models."""
        return sorted(self._models)

    def version_of(self, name: str) -> str:
        """Return the version that the file has of a model; "" when it has none."""
        found = self._models.get(name)
        return found.version if found is not None else ""

    @property
    def is_pending(self) -> bool:
        """Whether a model of the file is still to be loaded, for the first time or anew."""
        return any(self._done.get(name) != model.version for name, model in self._models.items())

    def read(self, repository: Repository) -> None:
        """Take notice of a file that has changed; one that cannot be read leaves things as they are."""
        try:
            found = self._path.stat()
            seen = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
            if seen == self._seen:
                return
            models = modelconfig.read(self._path.read_bytes())
        except FileNotFoundError:
            return
        except (OSError, InvalidInput) as error:
            logger.error("%s is not followed: %s", self._path, error)
            return
        self._seen = seen
        with self._changed:
            self._models = models
            self._again = {name: each for name, each in self._again.items() if name in models}
            self._changed.notify_all()
        repository.expect(models)

    def begin(self, repository: Repository, is_unwanted: Callable[[str], bool], notes: Path | None) -> None:
        """Follow the file from now on.

        `is_unwanted`: whether an operator has unloaded this version of a model; `notes`: a directory that the
        processes of the revision share, where there is one.
        """
        self._teller.begin()
        self._notes = Notes(notes) if notes is not None else None
        arguments = (repository, is_unwanted)
        self._thread = threading.Thread(target=self._run, args=arguments, name="trained models", daemon=True)
        self._thread.start()

    def wait_for(self, name: str) -> None:
        """Return when a model has been loaded or cannot be; at once for one that nothing is to be done about."""
        with self._changed:
            if self._is_done(name):
                return
            self._asked.append(name)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._is_done(name), AWAIT_S)
            self._asked = [each for each in self._asked if each != name]

    def close(self) -> None:
        """Follow no more; what waits to be told is sent, unless a model is being loaded: that ends with the process."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(OWING_CLOSE_S if any(map(self._owes, self._models)) else CLOSE_S)
            if not self._thread.is_alive():
                self._send()

    def _send(self) -> None:
        if self._teller.send() and self._notes is not None:
            for name, (version, reason, _) in self._said.items():
                if reason is None:
                    self._notes.put(name, version)

    def _is_done(self, name: str) -> bool:
        return name not in self._models or self._done.get(name) == self._models[name].version

    def _owes(self, name: str) -> bool:
        """Say whether a model is to be loaded of which the platform has heard nothing yet."""
        known = self._notes.get(name) if self._notes is not None else None
        return self._teller.tells and not self._is_done(name) and known != self._models[name].version

    def _run(self, repository: Repository, is_unwanted: Callable[[str], bool]) -> None:
        while not self._closing or any(map(self._owes, self._models)):
            self.read(repository)
            for name in [name for name in self._done if name not in self._models]:
                repository.forget(name)
                del self._done[name]
            following = self._next()
            if following is not None:
                self._follow(following, repository, is_unwanted)
            else:
                self._send()
                with self._changed:
                    self._changed.wait(EVERY_S)

    def _next(self) -> str | None:
        """Return the model to be loaded next: one that is waited for, else one that has never been, else again."""
        with self._changed:
            for name in (*self._asked, *sorted(self._models)):
                if self._owes(name) if self._closing else not self._is_done(name):
                    return name
            now = time.monotonic()
            return next((name for name, again in self._again.items() if again.at <= now), None)

    def _follow(self, name: str, repository: Repository, is_unwanted: Callable[[str], bool]) -> None:
        model, reason, message = self._models[name], None, None
        again = self._again.pop(name, None)
        if not is_unwanted(name):
            try:
                repository.load(name)
            except ZeroflowError as error:
                reason, message = error.reason, str(error)
                logger.error("model %s cannot be loaded: %s: %s", name, reason, message)
            except Exception as error:  # one model's must not end the thread that all of them need
                reason, message = "ModelLoadFailed", f"{type(error).__name__}; the predictor's log has the details"
                logger.exception("model %s cannot be loaded", name)
            if reason == "Unavailable":
                delay_s = AGAIN_S if again is None else min(2 * again.delay_s, AGAIN_AT_MOST_S)
                self._again[name] = _Again(time.monotonic() + delay_s, delay_s)
            self._tell(model, reason, message)
        with self._changed:
            self._done[name] = model.version
            self._changed.notify_all()

    def _tell(self, model: ConfiguredModel, reason: str | None, message: str | None) -> None:
        said = (model.version, reason, message)
        known = self._notes.get(model.name) if self._notes is not None else None
        if self._said.get(model.name) == said or (reason is None and known == model.version):
            return
        self._said[model.name] = said
        if reason is not None and self._notes is not None:
            self._notes.drop(model.name)
        self._teller.put(
            Outcome(
                **self._teller.signature(),
                model=model.name,
                version=model.version,
                reason=reason,
                message=message,
            )
        )
