"""The Python environment of a project: its own, made once for what it asks for and kept; never the platform's.

A project that asks for nothing but what the function contract brings (the CloudEvents SDK) needs none: it runs in a
process forked from the platform's preloaded parent, and so wakes in milliseconds.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from zeroflow import instance
from zeroflow.errors import InvalidInput, Unavailable

BASE = ("cloudevents>=2,<3", "gunicorn>=23", "pyyaml>=6")
"""What the adapter needs beside the standard library."""
_BROUGHT = re.compile(r"(cloudevents|func[-_]python|hypercorn|pytest|pytest[-_]asyncio)\b", re.IGNORECASE)
_MARK = ".complete"
_TIMEOUT_S = 1800


def requirements(folder: Path) -> list[str]:
    """Return what a project asks for: requirements.txt, or the dependencies of pyproject.toml."""
    listed = folder / "requirements.txt"
    if listed.exists():
        lines = (line.split(" #")[0].strip() for line in listed.read_text().splitlines())
        return [line for line in lines if line and not line.startswith("#")]
    project = folder / "pyproject.toml"
    if not project.exists():
        return []
    import tomllib

    try:
        document = tomllib.loads(project.read_text())
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{project} is not TOML: {error}") from error
    return [str(each) for each in (document.get("project") or {}).get("dependencies") or ()]


def needed(wanted: list[str]) -> bool:
    """Return whether an environment of its own is needed: a test's tools are no reason."""
    return any(not _BROUGHT.match(each) for each in wanted)


def make(folder: Path, wanted: list[str], root: Path, build_env: Mapping[str, str], say: Callable[[str], None]) -> Path:
    """Return the environment's directory below `root`, made when nobody has made the same one before.

    Raises Unavailable with what the installer said.
    """
    key = "\0".join([sys.version, *BASE, *wanted, _adapter_hash(), *(f"{k}={v}" for k, v in sorted(build_env.items()))])
    made = root / hashlib.sha256(key.encode()).hexdigest()[:24]
    if (made / _MARK).exists():
        return made
    say(f"installing {len(wanted)} requirements into an environment of the function's own")
    shutil.rmtree(made, ignore_errors=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **build_env}
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv:
        _run([uv, "venv", "--quiet", "--python", sys.executable, str(made)], folder, environment)
        install = [uv, "pip", "install", "--quiet", "--python", str(made / "bin" / "python")]
    else:
        _run([sys.executable, "-m", "venv", str(made)], folder, environment)
        install = [str(made / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    asked = ["-r", "requirements.txt"] if (folder / "requirements.txt").exists() else wanted
    _run([*install, *BASE, *asked], folder, environment)
    _copy_adapter(made)
    (made / _MARK).touch()
    return made


def _run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()
        raise Unavailable(f"the environment cannot be made: `{' '.join(command[:4])} ...` said:\n{said}")


def _adapter() -> list[Path]:
    package = Path(instance.__file__).parent
    return [package.parent / "__init__.py", package.parent / "errors.py", *sorted(package.glob("*.py"))]


def _adapter_hash() -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in _adapter())).hexdigest()


def _copy_adapter(environment: Path) -> None:
    """Give the environment the adapter and nothing else of the platform."""
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    top = Path(instance.__file__).parent.parent
    for path in _adapter():
        target = packages / "zeroflow" / path.relative_to(top)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
