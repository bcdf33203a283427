"""A project's source as a revision keeps it: a copy named by its content, so that what runs never changes under it."""

from __future__ import annotations

import fnmatch
import hashlib
import shutil
from pathlib import Path

from zeroflow.errors import InvalidInput

MODULE = "function"
_NEVER = (".git", ".func", ".venv", "venv", "__pycache__", "node_modules", "*.pyc", ".pytest_cache", ".mypy_cache")


def import_root(folder: Path) -> Path:
    """Return the folder from which `function` is imported, relative to the project; raise InvalidInput."""
    for root in (Path("."), Path("src")):
        at = folder / root
        if (at / MODULE / "__init__.py").exists() or (at / f"{MODULE}.py").exists():
            return root
    if (folder / "func.py").exists():
        raise InvalidInput(
            f"{folder}/func.py is a function of the older kind (parliament, before func 1.16): "
            f"export new() or handle from a package {MODULE!r}, as `func create -l python` makes it now"
        )
    raise InvalidInput(f"{folder} has no package {MODULE!r} that exports new() or handle")


def keep(folder: Path, root: Path) -> Path:
    """Copy a project to `root/<hash of its files>` unless it is there, and return that folder."""
    files = sorted(_files(folder))
    digest = hashlib.sha256()
    for path in files:
        data = path.read_bytes()
        digest.update(f"{path.relative_to(folder)}\0{len(data)}\0".encode() + data)
    kept = root / digest.hexdigest()[:24]
    if kept.exists():
        return kept
    scratch = kept.with_suffix(".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    for path in files:
        target = scratch / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    scratch.rename(kept)
    return kept


def _files(folder: Path) -> list[Path]:
    ignored = [*_NEVER]
    listed = folder / ".funcignore"
    if listed.exists():
        lines = (line.strip().strip("/") for line in listed.read_text().splitlines())
        ignored += [line for line in lines if line and not line.startswith("#")]
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and not _is_ignored(path.relative_to(folder), ignored)
    ]


def _is_ignored(path: Path, patterns: list[str]) -> bool:
    return any(
        fnmatch.fnmatch(part, pattern) or fnmatch.fnmatch(str(path), pattern)
        for pattern in patterns
        for part in path.parts
    )
