"""The files of a ConfigMap, Secret or projected volume, exchanged all at once, in the layout that kubelet gives them.

They lie in a directory of their own; `..data` is a link to it, and each name in the volume a link through `..data`. An
exchange makes a new directory and turns that one link: a reader sees the old files or the new ones, never a half of
either, and who watches the volume (inotify) sees `..data` come anew. Files are readable by their owner alone.
Source: Kubernetes pkg/volume/util/atomic_writer.go.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

DATA, BESIDE = "..data", "..data_tmp"

Files = Mapping[str, bytes]
"""By path relative to the volume."""


def show(directory: Path, files: Files) -> bool:
    """Have a volume's directory show exactly these files; return whether that is another thing than before.

    What is made belongs to whom the directory belongs.
    """
    if (directory / DATA).is_symlink() and shown(directory) == dict(files):
        return False
    made = directory / f"..{secrets.token_hex(8)}"
    made.mkdir(mode=0o700)
    for path, content in files.items():
        (made / path).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(made / path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write(content)
    before = directory / os.readlink(directory / DATA) if (directory / DATA).is_symlink() else None
    (directory / BESIDE).unlink(missing_ok=True)
    (directory / BESIDE).symlink_to(made.name)
    _hand_over(directory, [directory / BESIDE, made, *made.rglob("*")])
    (directory / BESIDE).replace(directory / DATA)
    names = {PurePosixPath(path).parts[0] for path in files}
    for name in names:
        if not (directory / name).is_symlink():
            (directory / name).symlink_to(f"{DATA}/{name}")
            _hand_over(directory, [directory / name])
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in names:
            entry.unlink()
    if before is not None:
        shutil.rmtree(before, ignore_errors=True)
    return True


def shown(directory: Path) -> dict[str, bytes]:
    """Return the files that a volume's directory shows."""
    root = (directory / DATA).resolve()
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _hand_over(directory: Path, made: list[Path]) -> None:
    owner = directory.stat()
    if owner.st_uid != os.geteuid() or owner.st_gid != os.getegid():
        for path in made:
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
