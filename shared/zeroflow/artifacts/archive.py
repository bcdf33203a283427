"""Unpacks archives that nobody vouches for: no member leaves the directory, no link, no device, no bomb.

Members are written one by one, counted as they are written (what an archive says of its sizes is not believed). What
a tar archive says of a member, which may be of any length, is read up to a limit.
Source: CVE-2007-4559 (tar traversal), "zip slip"; Python tarfile, extraction filters.
"""

import bz2
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from zeroflow.errors import InvalidInput

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
MAX_MEMBERS = 100_000
CHUNK_BYTES = 1 << 20
MAX_HEADER_BYTES = 2 << 20
DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, NotImplementedError, ValueError),
)
"""What reading an archive raises when something is wrong with it."""
_PACKED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}


class BadArchive(InvalidInput):
    """The archive is damaged, or holds what must not be unpacked."""


def is_archive(name: str) -> bool:
    """Say whether a file's name is an archive's."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, target: Path, max_bytes: int) -> None:
    """Unpack below `target`, which must not exist; raise BadArchive, having written nothing outside of it."""
    target.mkdir(parents=True)
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive, max_bytes)
        count = total = 0
        for name, file in members:
            count += 1
            if count > MAX_MEMBERS:
                raise BadArchive(f"{archive.name} has more than {MAX_MEMBERS} members")
            path = inside(target, name)
            if file is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with file, path.open("xb") as written:
                while chunk := file.read(CHUNK_BYTES):
                    total += len(chunk)
                    if total > max_bytes:
                        raise BadArchive(f"{archive.name} holds more than the {max_bytes} bytes that are allowed")
                    written.write(chunk)
    except FileExistsError as error:
        raise BadArchive(f"{archive.name} holds a member twice, or a file as a directory") from error
    except DAMAGED as error:
        raise BadArchive(f"{archive.name} cannot be unpacked: {type(error).__name__}: {error}") from error


def inside(root: Path, name: str) -> Path:
    """Return where a member lies below `root`; raise BadArchive for one that would lie elsewhere."""
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
        raise BadArchive(f"member {name[:100]!r} climbs out of the archive")
    return root / name


@contextmanager
def opened_tar(path: Path, max_bytes: int) -> Iterator[tarfile.TarFile]:
    """Open a tar archive, packed or not, of which at most so many bytes, and a header for each member, are passed."""
    with path.open("rb") as raw:
        head = raw.read(6)
    unpacks = next((opens for magic, opens in _PACKED.items() if head.startswith(magic)), open)
    most = max_bytes + MAX_MEMBERS * 2 * tarfile.BLOCKSIZE
    with unpacks(path, "rb") as file, tarfile.open(fileobj=cast(IO[bytes], _Bounded(file, most)), mode="r:") as opened:
        yield opened


class _Bounded:
    """A file that gives little at a time, and not what lies beyond the limit."""

    def __init__(self, file: IO[bytes], most: int) -> None:
        self._file, self._most = file, most

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise BadArchive(f"the archive describes a member by {size} bytes, {MAX_HEADER_BYTES} are allowed")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self._most:
            raise BadArchive(f"the archive holds more than the {self._most} bytes that are allowed")
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            if mode and (mode & 0o170000) not in (0, 0o100000, 0o040000):
                raise BadArchive(f"member {info.filename[:100]!r} is a link or a device")
            yield info.filename, None if info.is_dir() else opened.open(info)


def _tar_members(archive: Path, max_bytes: int) -> Iterator[tuple[str, IO[bytes] | None]]:
    with opened_tar(archive, max_bytes) as opened:
        for member in opened:
            if member.isdir():
                yield member.name, None
            elif member.isreg():
                yield member.name, opened.extractfile(member)
            else:
                raise BadArchive(f"member {member.name[:100]!r} is a link or a device")
