"""The processes that serve one revision on this machine: workers of one gunicorn, and replicas that share a directory.

A repository call reaches one of them. It tells the others, each at a socket in the directory, and waits until they
have followed; nobody polls, and no prediction pays for it. Guarantees: a process that has died, however, is not waited
for; one that joins afterwards reads what is wanted (wanted.py) after it can be told, so that it misses nothing.

The directory is the revision's own below ZEROFLOW_MODEL_CACHE, which the replicas of one machine share; without it,
that of the gunicorn whose worker this is.
"""

import hashlib
import logging
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from zeroflow.functions.predictor.models.wanted import Wanted
from zeroflow.functions.predictor.settings import PredictorSettings

logger = logging.getLogger(__name__)

FOLLOW_S = 240.0
"""How long a sibling may take to load a model; the host's own limit of a request is 300 s."""
ENDING = ".sock"
OF_GUNICORN = "zeroflow-repository-"
ATTEMPTS = 5

Follow = Callable[[], Mapping[str, str]]
"""Does what is wanted now; returns models that could not be loaded, and why."""


def directory_of_revision(settings: PredictorSettings) -> Path | None:
    """Return the directory that the replicas of this revision share; None where there is none."""
    if settings.cache is None or settings.revision is None:
        return None
    own = settings.identity
    said = orjson.dumps([own.namespace, own.inferenceservice, settings.revision, settings.storage_uri])
    return settings.cache / "repository" / hashlib.sha256(said).hexdigest()[:16]


class Siblings:
    """This process among them. `join` it once, in the process that serves; `leave` at its end."""

    def __init__(self, directory: Path, follow: Follow) -> None:
        self.directory, self._follow = directory, follow
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}{ENDING}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.wanted = Wanted(directory)

    @classmethod
    def join(cls, settings: PredictorSettings, follow: Follow) -> "Siblings | None":
        """Be told from now on; None, with a warning, where the directory cannot be used."""
        directory = directory_of_revision(settings) or _of_gunicorn(settings.scratch)
        try:
            found = cls(directory, follow)
            found._listen()
        except OSError as error:
            logger.warning("repository calls reach this process alone: %s", error)
            return None
        return found

    def tell(self) -> dict[str, Mapping[str, str]]:
        """Have the others do what is wanted now; return the faults of each that could not, by its name."""
        asked = {}
        for path in sorted(self.directory.glob(f"*{ENDING}")):
            if path.name != self._name and (connection := self._reached(path)) is not None:
                asked[path.name.removesuffix(ENDING)] = connection
        found = {}
        for name, connection in asked.items():  # they work side by side
            with connection:
                if faults := _answer(connection):
                    found[name] = faults
        return found

    def leave(self) -> None:
        """Be told no more."""
        (self.directory / self._name).unlink(missing_ok=True)
        self._socket.close()
        try:
            self.directory.rmdir()  # the last one out, where nothing was ever wanted
        except OSError:
            return

    def _listen(self) -> None:
        for attempt in range(ATTEMPTS):
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                if self.directory.stat().st_uid != os.getuid():
                    raise PermissionError(f"{self.directory} belongs to another user")
                with _Directory(self.directory) as here:
                    self._socket.bind(f"{here}/.{self._name}")
                    self._socket.listen()
                    os.rename(f"{here}/.{self._name}", f"{here}/{self._name}")  # found only when it can be reached
                break
            except FileNotFoundError:  # another one has left in this moment, and found the directory empty
                if attempt == ATTEMPTS - 1:
                    raise
        threading.Thread(target=self._serve, name="siblings", daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                try:
                    faults = dict(self._follow())
                except Exception as error:
                    logger.exception("cannot do what is wanted of the models")
                    faults = {"": type(error).__name__}
                try:
                    connection.sendall(orjson.dumps(faults))
                except OSError:
                    continue

    def _reached(self, path: Path) -> socket.socket | None:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(FOLLOW_S)
        try:
            with _Directory(path.parent) as here:
                connection.connect(f"{here}/{path.name}")
        except OSError as error:
            connection.close()
            if isinstance(error, ConnectionRefusedError):  # its process is dead
                path.unlink(missing_ok=True)
            elif not isinstance(error, FileNotFoundError):
                logger.warning("%s cannot be told: %s", path, error)
            return None
        return connection


class _Directory:
    """A directory's short name: an address has room for a hundred bytes of path, and homes are deeper than that."""

    def __init__(self, path: Path) -> None:
        self._path, self._descriptor = path, -1

    def __enter__(self) -> str:
        if not os.path.isdir("/proc/self/fd"):
            return str(self._path)
        self._descriptor = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _answer(connection: socket.socket) -> Mapping[str, str]:
    said = b""
    try:
        while part := connection.recv(1 << 16):
            said += part
    except TimeoutError:
        return {"": f"has not followed within {FOLLOW_S:g} seconds"}
    except OSError:
        return {}
    if not said:
        return {}  # it has died over it: whoever takes its place reads what is wanted
    return {str(name): str(fault) for name, fault in orjson.loads(said).items()}


def _of_gunicorn(scratch: Path) -> Path:
    """Return the directory of the gunicorn whose worker this is; those of others that have ended are removed."""
    uid, parent = os.getuid(), os.getppid()
    for path in scratch.glob(f"{OF_GUNICORN}{uid}-*"):
        pid, _, began = path.name.removeprefix(f"{OF_GUNICORN}{uid}-").partition("-")
        if pid.isdecimal() and _began(int(pid)) != began:
            shutil.rmtree(path, ignore_errors=True)
    return scratch / f"{OF_GUNICORN}{uid}-{parent}-{_began(parent)}"


def _began(pid: int) -> str:
    """Return what tells a process from a later one of the same number: when it began, in ticks since the boot."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return "0"
