"""Content hashes: what an artifact is, apart from where it lies.

A file's hash is the sha256 of its bytes. A directory's is the sha256 over its files in sorted order, each as
`<sha256 of the file>  <relative path>\\n` (the format of sha256sum), so that it can be checked with standard tools:
`find . -type f | cut -c3- | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum`.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import InvalidInput, NotFound

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Content:
    """What bytes are."""

    sha256: str
    size_bytes: int


def of(path: Path) -> Content:
    """Hash a file or a directory; links inside a directory are refused, since they may lead out of it."""
    if path.is_dir():
        return _of_directory(path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Content(digest.hexdigest(), file.tell())


def files_of(root: Path) -> list[Path]:
    """Return every file below a directory, in the order of its hash; raise InvalidInput for a link among them.

    A link would be read as what it points to, wherever that is.
    """
    try:
        found = sorted(root.rglob("*"), key=lambda path: os.fsencode(path.relative_to(root).as_posix()))
    except RecursionError as error:
        raise InvalidInput(f"{root.name} has directories in directories that are too many to follow") from error
    for path in found:
        if path.is_symlink():
            raise InvalidInput(f"{path.relative_to(root)} is a symbolic link; an artifact directory holds only files")
        if not path.is_file() and not path.is_dir():  # a pipe would be waited for
            raise InvalidInput(f"{path.relative_to(root)} is a pipe or a device; an artifact is made of files")
    return [path for path in found if path.is_file()]


def copy(path: Path, target: Path, name: object) -> None:
    """Copy a file or a directory to a new place; raise InvalidInput for links inside, NotFound for `name`."""
    if path.is_dir():
        files_of(path)  # refuses links
        shutil.copytree(path, target)
    elif path.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    else:
        raise NotFound(f"there is nothing at {name}")


def _of_directory(root: Path) -> Content:
    total, digest = 0, hashlib.sha256()
    for path in files_of(root):
        content = of(path)
        total += content.size_bytes
        digest.update(f"{content.sha256}  {path.relative_to(root).as_posix()}\n".encode())
    return Content(digest.hexdigest(), total)
