"""Peers of the benchmarks: environments of their own, and the same work as their users write it."""

import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def python_with(name: str, *requirements: str) -> str:
    """Return the Python of an environment with a peer, made once and kept."""
    folder = Path.home() / ".cache" / "zeroflow-bench" / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
        if uv is None:
            raise RuntimeError("uv makes the environments of peers: pip install uv")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *requirements], check=True)
        (folder / "complete").touch()
    return str(python)
