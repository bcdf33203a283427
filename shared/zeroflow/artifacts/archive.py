"""Unpacks archives that nobody vouches for: no member leaves the directory, no link, no device, no bomb.

Members are written one by one, counted as they are written (what an archive says of its sizes is not believed).
Source: CVE-2007-4559 (tar traversal), "zip slip"; Python tarfile, extraction filters.
"""

import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from zeroflow.errors import InvalidInput

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
MAX_MEMBERS = 100_000
CHUNK_BYTES = 1 << 20


class BadArchive(InvalidInput):
    """The archive is damaged, or holds what must not be unpacked."""


def is_archive(name: str) -> bool:
    """Say whether a file's name is an archive's."""
    return name.lower().endswith(ENDINGS)


def unpack(archive: Path, target: Path, max_bytes: int) -> None:
    """Unpack below `target`, which must not exist; raise BadArchive, having written nothing outside of it."""
    target.mkdir(parents=True)
    try:
        members = _zip_members(archive) if zipfile.is_zipfile(archive) else _tar_members(archive)
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
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise BadArchive(f"{archive.name} cannot be unpacked: {type(error).__name__}: {error}") from error


def inside(root: Path, name: str) -> Path:
    """Return where a member lies below `root`; raise BadArchive for one that would lie elsewhere."""
    if name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/") or ":" in name.split("/")[0]:
        raise BadArchive(f"member {name[:100]!r} climbs out of the archive")
    return root / name


def _zip_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            if mode and (mode & 0o170000) not in (0, 0o100000, 0o040000):
                raise BadArchive(f"member {info.filename[:100]!r} is a link or a device")
            yield info.filename, None if info.is_dir() else opened.open(info)


def _tar_members(archive: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                yield member.name, None
            elif member.isreg():
                yield member.name, opened.extractfile(member)
            else:
                raise BadArchive(f"member {member.name[:100]!r} is a link or a device")
