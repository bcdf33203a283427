"""The home: everything that one embedded host keeps, in one directory.

Only one host runs on a home at a time (an flock that the kernel releases whatever happens to the process). The
directory is private to its user, because logs, secrets and databases lie in it.
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import Conflict, Unavailable
from zeroflow.knative.local.repair import damage

MAX_PATH_BYTES = 470
"""Of the home's path: SQLite opens no file whose path has 512 bytes or more."""


@dataclass(frozen=True)
class Home:
    """Paths below the home's root."""

    root: Path

    @property
    def db(self) -> Path:
        """Databases: resources, broker, metadata."""
        return self.root / "db"

    @property
    def store(self) -> Path:
        """The object store: store/<bucket>/<key>."""
        return self.root / "store"

    @property
    def logs(self) -> Path:
        """What processes wrote: logs/<namespace>/<pod>/<container>.log."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """Scratch of running processes."""
        return self.root / "run"

    @property
    def volumes(self) -> Path:
        """What PersistentVolumeClaims hold."""
        return self.root / "volumes"

    @property
    def secrets(self) -> Path:
        """Keys of this installation."""
        return self.root / "secrets"

    @property
    def users(self) -> Path:
        """Who else than the owner may ask."""
        return self.secrets / "users.json"

    @property
    def kubeconfig(self) -> Path:
        """What kubectl and the official clients are given."""
        return self.root / "kubeconfig"

    @property
    def address(self) -> Path:
        """JSON with the running host's URL and process id, for the command line."""
        return self.root / "host.json"

    def pod_log(self, namespace: str, pod: str, container: str) -> Path:
        """Return where a container's output goes."""
        return self.logs / namespace / pod / f"{container}.log"

    def volume(self, namespace: str, claim: str, uid: str) -> Path:
        """Return the directory of a PersistentVolumeClaim; a later claim of the same name has another."""
        return self.volumes / namespace / f"{claim}-{uid}"

    def prepare(self) -> None:
        """Create what is missing; raise Unavailable in one line when that cannot be done."""
        if len(os.fsencode(self.root)) > MAX_PATH_BYTES:
            raise Unavailable(
                f"the home's path has more than {MAX_PATH_BYTES} bytes, too many for its databases; choose another "
                "with --home DIR"
            )
        try:
            for path in (self.root, self.db, self.store, self.logs, self.run, self.volumes, self.secrets):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
            probe = self.run / f".probe-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise Unavailable(
                f"cannot write to the home {self.root}: {error.strerror}; choose another with --home DIR"
            ) from error

    def lock(self) -> "HomeLock":
        """Take the home for this process; raise Conflict when another host has it."""
        descriptor = os.open(self.root / "host.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise Conflict(f"a host already runs on {self.root} (process {pid}); stop it or use --home DIR") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return HomeLock(descriptor)

    def check_databases(self) -> None:
        """Raise Unavailable in one line when a database that is here is damaged."""
        for path in sorted(self.db.glob("*.sqlite")):
            if (what := damage(path)) is not None:
                raise Unavailable(
                    f"the database {path} is damaged: {what}; restore the home from a backup, or save what can still "
                    f"be read with: zeroflow repair --home {self.root}"
                )

    def platform_token(self) -> str:
        """Return the token of the platform's functions; made once, readable by the owner alone."""
        path = self.secrets / "platform.token"
        token = path.read_text().strip() if path.exists() else ""
        if not token:
            scratch = path.with_suffix(f".{os.getpid()}")
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
                file.flush()
                os.fsync(file.fileno())
            scratch.rename(path)
            token = path.read_text().strip()
        return token


@dataclass(frozen=True)
class HomeLock:
    """Keeps the home taken for as long as the process lives, or until it is released."""

    descriptor: int

    def release(self) -> None:
        """Give the home back."""
        os.close(self.descriptor)
