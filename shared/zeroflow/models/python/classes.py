"""From a Python file to the class in it. The file's directory can be imported from; each model has its own modules."""

import importlib.util
import itertools
import sys
from pathlib import Path

from zeroflow.models.errors import CorruptModel
from zeroflow.models.python import names

_numbers = itertools.count(1)


def class_of(path: Path, class_name: str) -> type:
    """Run the file and return its class; raise CorruptModel when it has none, or what the file raises.

    Whoever calls this has seen to it that somebody vouches for the file.
    """
    names.install()
    name = f"zeroflow_model_{next(_numbers)}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    before = set(sys.modules)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(path.parent))
        _forget(path.parent, before)
    found = getattr(module, class_name, None)
    if not isinstance(found, type):
        raise CorruptModel(f"{path.name} has no class {class_name}")
    return found


def _forget(place: Path, before: set[str]) -> None:
    """Take a model's own helper modules out of the way of the next model's, which may have the same names."""
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(place):
            del sys.modules[name]
