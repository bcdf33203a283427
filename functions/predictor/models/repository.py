"""The models of this predictor by name: loads, exchanges and unloads them while others are asked.

A predictor has the one model of its revision, one for each directory below STORAGE_URI, or those that a file names
(trained.py).
A model's directory may hold numbered versions (`1/`, `2/`, ...); the highest is served. Guarantees: a model is
exchanged in one step, after the new one has been loaded and has answered; requests that are under way finish with
the old one; a model that fails to load leaves the one that is served in place and says why in the index. What was
recorded as wanted (wanted.py) is done in the order of its generations, whichever process was asked for it.

Source: Open Inference Protocol, model repository extension (Triton, protocol/extension_model_repository.md).
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.errors import ModelNotReady, UnknownModel
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.models.wanted import Word

logger = logging.getLogger(__name__)

READY, UNAVAILABLE, LOADING = "READY", "UNAVAILABLE", "LOADING"

Load = Callable[[str], Served]
Names = Callable[[], list[str]]
Version = Callable[[str], str]
"""Tells states of what a name stands for apart: words that were said of one do not count for another."""
Record = Callable[[str, bool], int]
"""Puts down that a model is to be loaded, or unloaded; returns the generation."""


@dataclass(frozen=True)
class Slot:
    """What is known of one model."""

    served: Served | None = None
    state: str = UNAVAILABLE
    reason: str = ""


UNLOADED = Slot(None, UNAVAILABLE, "unloaded")
EXPECTED = Slot(None, LOADING, "it is about to be loaded")


class Repository:
    """Models by name. `load` makes one, `names` tells which there could be. Safe to use from several threads."""

    def __init__(
        self,
        load: Load,
        names: Names,
        version_of: Version = lambda name: "",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._load, self._names, self._version_of, self.changed = load, names, version_of, changed
        self._slots: Mapping[str, Slot] = {}
        self._done: dict[str, int] = {}
        """By model: the generation of the last word that was followed."""
        self._loading = threading.Lock()

    @property
    def served(self) -> list[Served]:
        """The models that are served now."""
        return [slot.served for slot in self._slots.values() if slot.served is not None]

    @property
    def names(self) -> list[str]:
        """The names of the models that are served now."""
        return [served.name for served in self.served]

    def get(self, name: str, version: str | None = None) -> Served:
        """Return a model; raise UnknownModel for another name or version, ModelNotReady when it is not loaded."""
        slot = self._slots.get(name)
        if slot is None:
            known = ", ".join(sorted(self._slots)) or "no model"
            raise UnknownModel(f"Model with name {name} does not exist; this predictor serves {known}.")
        if slot.served is None:
            why = slot.reason or "it is unloaded"
            raise ModelNotReady(f"Model {name} is not ready: {why}; POST /v2/repository/models/{name}/load loads it.")
        if version is not None and version != slot.served.version:
            own = slot.served.version
            known = f"it serves version {own}" if own else "this predictor's models have no versions"
            raise UnknownModel(f"Model {name} has no version {version}; {known}.")
        return slot.served

    def load(self, name: str, record: Record | None = None) -> Served:
        """Load a model, or load it anew, and record that; raise UnknownModel or what its loader raises."""
        with self._loading:
            served = self._loaded(name)
            if record is not None:
                self._done[name] = record(name, True)
            return served

    def load_all(self, strictly: bool = False) -> None:
        """Load every model there is; one that fails is told in the index and does not keep the others away.

        With `strictly` it does, and is raised.
        """
        for name in self._names():
            try:
                self.load(name)
            except ZeroflowError as error:
                if strictly:
                    raise
                logger.error("model %s cannot be served: %s: %s", name, error.reason, error)

    def expect(self, names: Iterable[str]) -> None:
        """Know these models before they are loaded: they are not ready, which is not the same as not there."""
        with self._loading:
            for name in names:
                if name not in self._slots:
                    self._set(name, EXPECTED)

    def forget(self, name: str) -> None:
        """Serve a model no more, and know no more of it."""
        with self._loading:
            self._slots = {each: slot for each, slot in self._slots.items() if each != name}
            self.changed()

    def unload(self, name: str, record: Record | None = None) -> None:
        """Record that a model is not wanted, then stop serving it; raise UnknownModel when there is none of this name.

        What `record` raises leaves the model served.
        """
        with self._loading:
            if name not in self._slots:
                raise UnknownModel(f"Model with name {name} does not exist.")
            if record is not None:
                self._done[name] = record(name, False)
            self._set(name, UNLOADED)

    def note_loaded(self, wanted: Mapping[str, Word]) -> None:
        """Take it that what is about to be loaded is as new as the words on it: called before the first load."""
        self._done = {name: word.generation for name, word in wanted.items() if word.loaded}

    def follow(self, wanted: Mapping[str, Word]) -> dict[str, str]:
        """Load and unload what others were asked to; return which models could not be loaded, and why."""
        faults = {}
        for name, word in sorted(wanted.items(), key=lambda each: each[1].generation):
            with self._loading:
                if word.generation <= self._done.get(name, 0) or word.of != self._version_of(name):
                    continue
                self._done[name] = word.generation
                if not word.loaded:
                    self._set(name, UNLOADED)
                    continue
                try:
                    self._loaded(name)
                except ZeroflowError as error:
                    logger.error("model %s cannot be loaded: %s: %s", name, error.reason, error)
                    faults[name] = f"{error.reason}: {error}"
        return faults

    def _loaded(self, name: str) -> Served:
        before = self._slots.get(name)
        if before is None and name not in self._names():
            raise UnknownModel(f"Model with name {name} does not exist.")
        self._set(name, Slot(before.served if before else None, LOADING))
        try:
            served = self._load(name)
        except ZeroflowError as error:
            self._set(name, Slot(before.served if before else None, UNAVAILABLE, f"{error.reason}: {error}"))
            raise
        self._set(name, Slot(served, READY))
        return served

    def index(self, ready: bool = False) -> list[dict[str, Any]]:
        """Return what the repository holds, with states; `ready`: only what is served."""
        slots = dict(self._slots)
        if not ready:
            slots = {name: Slot() for name in self._names()} | slots
        return [
            {
                "name": name,
                "version": (slot.served.version if slot.served else None) or "",
                "state": READY if slot.served and slot.state != LOADING else slot.state,
                "reason": slot.reason,
            }
            for name, slot in sorted(slots.items())
            if slot.served is not None or not ready
        ]

    def _set(self, name: str, slot: Slot) -> None:
        self._slots = {**self._slots, name: slot}
        self.changed()
