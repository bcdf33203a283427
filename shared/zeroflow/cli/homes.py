"""Backups of a home: one file that holds everything which a host keeps, as it was at one moment.

The moment: the write locks of all databases are held together while a snapshot of each is opened, a few milliseconds;
the snapshots are then copied while the host goes on. That is the state that a power cut at that moment would have left,
which the platform comes back from. The object store is copied after it: what databases name is never changed, and what
came later does no harm.

A backup is a tar file whose last member lists every other with its sha256; without that list it is not a whole one. It
gets its name when it is whole and on disk. A home is restored beside its place and renamed into it, or not at all.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from zeroflow import __version__
from zeroflow.errors import Conflict, InvalidInput, NotFound, Unavailable

LIST = "zeroflow-backup.json"
FORMAT = 1
LEFT_OUT = ("run", "host.json", "host.lock")
"""What a host makes anew at each start."""
LOCK_TIMEOUT_S = 60.0
CHUNK_BYTES = 1 << 20

Progress = Callable[[str, int], None]
"""Called with what is being done and how many bytes are done."""


@dataclass(frozen=True)
class Backup:
    """What a backup holds."""

    files: int
    size_bytes: int
    held_ms: float = 0.0
    """How long writers had to wait."""


def back_up(home: Path, target: Path, progress: Progress = lambda _what, _done: None) -> Backup:
    """Write a home, which a host may be running on, into a new file; raise before anything is written if it cannot."""
    databases = sorted((home / "db").glob("*.sqlite"))
    if not databases:
        raise NotFound(f"{home} is no home: it has no databases; name the home with --home DIR")
    if target.exists():
        raise InvalidInput(f"{target} is there already; name a file that is not")
    if (outside := _outside(home / "db" / "resources.sqlite")) is not None:
        raise InvalidInput(
            f"this home's metadata lie in {outside}: back that up with its own tools, together with the home"
        )
    part = target.with_name(f".{target.name}.part")
    try:
        with tempfile.TemporaryDirectory(prefix="zeroflow-backup-", dir=target.parent) as scratch:
            copies, held_ms = _copied(databases, Path(scratch), progress)
            with part.open("wb") as file:
                backup = _write(file, home, copies, held_ms, progress)
                file.flush()
                os.fsync(file.fileno())
        part.rename(target)
        _sync_directory(target.parent)
        return backup
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(f"no backup was made: {error}") from error
    finally:
        part.unlink(missing_ok=True)


def restore(source: Path, home: Path, progress: Progress = lambda _what, _done: None) -> Backup:
    """Unpack a backup into a home that is not there or empty; nothing is left of an attempt that fails."""
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise Conflict(f"{home} is not empty; restore into a directory that is not there")
    scratch = home.with_name(f".{home.name}.restoring")
    shutil.rmtree(scratch, ignore_errors=True)  # of an attempt that was killed
    try:
        scratch.mkdir(mode=0o700, parents=True)
        found = _unpack(source, scratch, progress)
        for path in sorted((scratch / "db").glob("*.sqlite")):
            with closing(sqlite3.connect(path)) as connection:
                verdict = connection.execute("PRAGMA quick_check").fetchone()[0]
            if verdict != "ok":
                raise Conflict(f"{path.name} in {source} is damaged: {verdict}")
        if home.exists():
            home.rmdir()
        scratch.rename(home)
        _sync_directory(home.parent)
        return found
    except FileNotFoundError as error:
        raise NotFound(f"{source} is not there") from error
    except (OSError, tarfile.TarError, EOFError) as error:
        raise InvalidInput(f"{source} is no whole backup: {error}; nothing was restored") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _copied(databases: list[Path], scratch: Path, progress: Progress) -> tuple[dict[Path, Path], float]:
    with _snapshots(databases) as (snapshots, held_ms):
        copies = {}
        for path, snapshot in snapshots.items():
            progress(path.name, 0)
            copies[path] = scratch / path.name
            with closing(sqlite3.connect(copies[path])) as copy:
                snapshot.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
        return copies, held_ms


@contextmanager
def _snapshots(databases: list[Path]) -> Iterator[tuple[dict[Path, sqlite3.Connection], float]]:
    """Open one read transaction per database, all of the same moment; yield them and how long writers waited in ms."""
    with ExitStack() as opened:
        writers, readers = [], {}
        for path in databases:
            readers[path] = opened.enter_context(closing(_connect(path)))
            writers.append(opened.enter_context(closing(_connect(path))))
        began = time.perf_counter()
        try:
            for writer in writers:
                writer.execute("BEGIN IMMEDIATE")
            for reader in readers.values():
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        finally:
            for writer in writers:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
        yield readers, (time.perf_counter() - began) * 1000


def _connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=rw", uri=True, timeout=LOCK_TIMEOUT_S, isolation_level=None)


def _outside(resources: Path) -> str | None:
    """Return where the metadata lie when that is not in the home, without a password."""
    if not resources.exists():
        return None
    with closing(_connect(resources)) as connection:
        row = connection.execute(
            "SELECT body FROM objects WHERE kind = 'Secret' AND namespace = 'zeroflow' AND name = 'zeroflow'"
        ).fetchone()
    encoded = (json.loads(row[0]).get("data") or {}).get("ZEROFLOW_DATABASE_URL", "") if row else ""
    url = base64.b64decode(encoded).decode()
    if not url or url.startswith("sqlite"):
        return None
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _write(file: IO[bytes], home: Path, copies: dict[Path, Path], held_ms: float, progress: Progress) -> Backup:
    listed: list[dict[str, Any]] = []
    done = 0
    with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in _kept(home):
            name = path.relative_to(home).as_posix()
            try:
                with (copies.get(path) or path).open("rb") as opened:
                    told = _add(archive, opened, name)
            except FileNotFoundError:
                continue  # it went away meanwhile: a log or a scratch file
            told["mode"] = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o600
            listed.append(told)
            done += told["size"]
            progress(name, done)
        document = {"format": FORMAT, "zeroflow": __version__, "files": listed}
        with io.BytesIO(json.dumps(document).encode()) as text:
            _add(archive, text, LIST, len(text.getbuffer()))
    return Backup(len(listed), done, held_ms)


def _kept(home: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        first = path.relative_to(home).parts[0]
        beside_database = first == "db" and path.name.endswith(("-wal", "-shm", "-journal"))
        if first not in LEFT_OUT and not beside_database and path.is_file() and not path.is_symlink():
            yield path


class _Hashing:
    """A file of which no more is read than it had at first, hashed on the way."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left, self.digest = file, size, hashlib.sha256()

    def read(self, wanted: int) -> bytes:
        data = self._file.read(min(wanted, self._left))
        if not data and self._left:
            raise OSError("a file became shorter while it was copied")
        self._left -= len(data)
        self.digest.update(data)
        return data


def _add(archive: tarfile.TarFile, file: IO[bytes], name: str, size: int | None = None) -> dict[str, Any]:
    told = tarfile.TarInfo(name)
    told.size = os.fstat(file.fileno()).st_size if size is None else size
    reading = _Hashing(file, told.size)
    archive.addfile(told, reading)  # type: ignore[arg-type]  # it asks for read() only
    return {"path": name, "size": told.size, "sha256": reading.digest.hexdigest()}


def _unpack(source: Path, target: Path, progress: Progress) -> Backup:
    found: dict[str, str] = {}
    document: Any = None
    done = 0
    with tarfile.open(source, mode="r|*") as archive:
        for member in archive:
            data = archive.extractfile(member) if member.isfile() else None
            if data is None:
                raise InvalidInput(f"{source} has {member.name[:200]!r}, which is no file")
            if member.name == LIST:
                document = json.load(data)
                continue
            found[member.name] = _extract(data, _inside(target, member.name))
            done += member.size
            progress(member.name, done)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidInput(f"{source} is no whole backup: its list is missing; nothing was restored")
    listed = {one["path"]: one for one in document["files"]}
    wrong = sorted(
        {name for name in listed.keys() | found.keys() if found.get(name) != listed.get(name, {}).get("sha256")}
    )
    if wrong:
        raise Conflict(f"{source} is damaged: {wrong[0]} is not what was written; nothing was restored")
    for name, one in listed.items():
        _inside(target, name).chmod(int(one["mode"]) & 0o777)
    return Backup(len(found), done)


def _extract(data: IO[bytes], place: Path) -> str:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while chunk := data.read(CHUNK_BYTES):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _inside(target: Path, name: str) -> Path:
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\0" in name:
        raise InvalidInput(f"the backup has {name[:200]!r}, which leads out of it; nothing was restored")
    return target.joinpath(*parts)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
