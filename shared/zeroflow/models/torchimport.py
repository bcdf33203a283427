"""PyTorch imported without what running TorchScript does without: a third of its import, which is most of such a
model's start.

Left out are torch.export and the registrations of meta kernels, which tell shapes to who traces or exports: TorchScript
brings its own. They are imported as soon as this process loads anything else, whose Python may use all of torch.

Guarantees: only torch's own import finds stand-ins, only in the main thread, before others import anything, and only
in versions that this was tried with. When `complete` has returned, all is as after a plain import.
"""

import importlib
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from threading import current_thread, main_thread
from types import ModuleType
from typing import Any

LEFT_OUT = ("torch._meta_registrations", "torch.export")
TRIED = re.compile(r"^__version__ = '2\.13\.", re.MULTILINE)


def for_script() -> Any:
    """Return torch, good for running TorchScript."""
    if "torch" in sys.modules or current_thread() is not main_thread() or not _was_tried():
        return importlib.import_module("torch")
    standing_in = {name: ModuleType(name) for name in LEFT_OUT}
    sys.modules.update(standing_in)
    try:
        torch = importlib.import_module("torch")
    finally:
        for name in standing_in:
            del sys.modules[name]
    for name, module in standing_in.items():
        attribute = name.removeprefix("torch.")
        if vars(torch).get(attribute) is module:
            delattr(torch, attribute)
    return torch


def complete() -> None:
    """Import what was left out, if torch was imported without it."""
    if "torch" in sys.modules:
        for name in LEFT_OUT:
            importlib.import_module(name)


def _was_tried() -> bool:
    found = find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:  # importlib.metadata would take longer, and memory that stays
        return TRIED.search(Path(found.origin).with_name("version.py").read_text()) is not None
    except OSError:
        return False
