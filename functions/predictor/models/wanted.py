"""Which models an operator has loaded or unloaded: a file that all processes which serve a revision share.

Guarantees: of two processes that record at once none loses the other's word; what `record` has returned for is on disk
and is read by every process that starts later; a reader never sees half a file. A generation is a word's number: later
ones are higher, whatever the model. An unreadable file is an error in the log, and wants nothing.
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

logger = logging.getLogger(__name__)

FILE, LOCK = "wanted.json", "lock"


@dataclass(frozen=True)
class Word:
    """The last that was said of one model."""

    generation: int
    loaded: bool
    of: str = ""
    """Of which version of it, where the platform names versions (trained.py): of another one it says nothing."""


class Wanted:
    """The file in a directory that is there. Safe to use from several processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def read(self) -> Mapping[str, Word]:
        """Return the last word on each model of which one was said."""
        try:
            said = orjson.loads((self._directory / FILE).read_bytes())
            return {
                str(name): Word(int(each["generation"]), bool(each["loaded"]), str(each.get("of", "")))
                for name, each in said.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
            logger.error("%s is not heeded: %s; remove it to begin anew", self._directory / FILE, error)
            return {}

    def record(self, name: str, loaded: bool, of: str = "") -> int:
        """Put down what is wanted of a model; return its generation. Raises OSError when it cannot be written."""
        with self._locked():
            known = self.read()
            generation = 1 + max((word.generation for word in known.values()), default=0)
            new = {**known, name: Word(generation, loaded, of)}
            said = {name: asdict(word) for name, word in new.items()}
            path = self._directory / FILE
            beside = path.with_suffix(".new")
            with beside.open("wb") as file:
                file.write(orjson.dumps(said))
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
            return generation

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self._directory / LOCK).open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
