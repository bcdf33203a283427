"""Environments of official clients and tools, which cannot all live in one: made by uv, kept between sessions."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

INSTALL_TIMEOUT_S = 600


def python_of(*requirements: str) -> str:
    """Return the Python of an environment with these packages; skip aloud when it cannot be made.

    Sessions and workers side by side make it once: whoever comes second waits for the first.
    """
    key = hashlib.sha256(" ".join(requirements).encode()).hexdigest()[:16]
    folder = Path.home() / ".cache" / "zeroflow-tests" / key
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return str(python)
    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if uv is None:
        pytest.skip(f"uv is not installed; it makes the environment of {', '.join(requirements)}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{key}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(uv, folder, python, requirements)
            (folder / "complete").touch()
    return str(python)


def _make(uv: str, folder: Path, python: Path, requirements: tuple[str, ...]) -> None:
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(python), *_find_links(), *requirements],
    ):
        made = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
        if made.returncode:
            pytest.skip(f"{', '.join(requirements)} cannot be installed: {made.stderr.strip()[-300:]}")


def _find_links() -> list[str]:
    """Name the folders that pip was told of: uv does not read pip's configuration."""
    configured = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.find-links"], capture_output=True, text=True
    )
    folders = [Path(place) for place in configured.stdout.split() if configured.returncode == 0]
    return [option for folder in folders if folder.is_dir() for option in ("--find-links", str(folder))]
