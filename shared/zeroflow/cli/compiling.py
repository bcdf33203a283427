"""From a Python file to the pipeline that it defines, compiled by the user's own `kfp`.

The file runs in a process of its own (`python -m zeroflow.cli.compiling FILE NAME OUT`), so that what it imports and
prints does not touch the command.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput

_NO_KFP = 3


def definition_of(file: Path, name: str = "") -> list[dict[str, Any]]:
    """Return the documents of a pipeline: of a YAML or JSON file, or compiled from a Python file."""
    import yaml

    from zeroflow.safe_yaml import LOADER

    if not file.is_file():
        raise InvalidInput(f"{file} is no file")
    text = _compiled(file, name) if file.suffix == ".py" else file.read_bytes()
    try:
        documents = [part for part in yaml.load_all(text, LOADER) if part]
    except yaml.YAMLError as error:
        raise InvalidInput(f"{file} is not valid YAML: {' '.join(str(error).split())}") from error
    if not documents or len(documents) > 2 or not all(isinstance(part, dict) for part in documents):
        raise InvalidInput(f"{file} holds no compiled pipeline")
    return documents


def _compiled(file: Path, name: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="zeroflow-compile-") as scratch:
        target = Path(scratch) / "pipeline.yaml"
        command = [sys.executable, "-W", "ignore", "-m", "zeroflow.cli.compiling", str(file), name, str(target)]
        done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode == 0 and target.is_file():
            return target.read_bytes()
        lines = done.stderr.strip().splitlines() or [f"it ended with exit code {done.returncode}"]
        if done.returncode == _NO_KFP:
            raise InvalidInput(lines[-1])
        if len(lines) > 1:
            sys.stderr.write(done.stderr)
        raise InvalidInput(f"{file} does not compile: {lines[-1]}")


def _compile(file: Path, name: str, target: Path) -> None:
    import runpy

    try:
        from kfp.compiler import Compiler
        from kfp.dsl.graph_component import GraphComponent
    except ImportError:
        sys.stderr.write("compiling a Python file needs kfp: pip install 'zeroflow[step]'\n")
        sys.exit(_NO_KFP)
    sys.path.insert(0, str(file.parent.resolve()))
    namespace = runpy.run_path(str(file), run_name="zeroflow_pipeline_file")
    found = {key: value for key, value in namespace.items() if isinstance(value, GraphComponent)}
    names = ", ".join(sorted(found)) or "none"
    if name:
        found = {key: value for key, value in found.items() if name in (key, value.name)}
    if name and not found:
        sys.stderr.write(f"it has no pipeline {name}; its functions with @dsl.pipeline: {names}\n")
        sys.exit(1)
    if len(set(map(id, found.values()))) != 1:
        choose = f"; choose with {file.name}:NAME" if found else ""
        sys.stderr.write(f"expected one function with @dsl.pipeline, found {names}{choose}\n")
        sys.exit(1)
    Compiler().compile(next(iter(found.values())), str(target))


if __name__ == "__main__":
    _compile(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
