"""What a trial of `zeroflow tune` runs: `python -m zeroflow.cli.objective FILE FUNCTION METRIC name:type=value ...`.

Calls the function with its parameters by name, or with one dictionary when it takes a single parameter of another
name. A returned number is printed as the objective metric, a returned dictionary as one metric per entry; a function
that returns nothing prints its metrics itself.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

CASTS: dict[str, Callable[[str], Any]] = {"int": int, "double": float}


def loaded(file: str, function: str) -> Callable[..., Any]:
    """Return a function of a file, which is imported as a module that can import what lies beside it."""
    path = Path(file).resolve()
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is not a Python file")
    sys.path.insert(0, str(path.parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found = getattr(module, function, None)
    if not callable(found):
        raise SystemExit(f"{file} has no function {function!r}")
    return found  # type: ignore[no-any-return]  # callable() leaves Any


def called(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call an objective with its parameters."""
    takes = inspect.signature(function).parameters
    if len(takes) == 1 and not set(takes) & set(values):
        return function(values)
    return function(**values)


def metrics(result: Any, metric: str) -> dict[str, float]:
    """Return what a result measures."""
    if result is None:
        return {}
    return {name: float(value) for name, value in (result if isinstance(result, dict) else {metric: result}).items()}


def main(arguments: list[str]) -> None:
    """Run one trial."""
    file, function, metric, *words = arguments
    values: dict[str, Any] = {}
    for word in words:
        typed, _, value = word.partition("=")
        name, _, kind = typed.rpartition(":")
        values[name] = CASTS.get(kind, str)(value)
    measured = metrics(called(loaded(file, function), values), metric)
    sys.stdout.writelines(f"{name}={value!r}\n" for name, value in measured.items())


if __name__ == "__main__":
    main(sys.argv[1:])
