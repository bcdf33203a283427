"""Importing a runtime's modules in a process that is to be forked, or to wait for its work."""

from __future__ import annotations

import ctypes
import gc
import importlib
from collections.abc import Iterable
from contextlib import suppress

LULL_S = 1.0
"""How long nothing must have been started before more is loaded."""


def load(modules: Iterable[str]) -> dict[str, str]:
    """Import `modules` and put their objects out of the collector's way; return why some could not be: {name: reason}.

    With the collector off meanwhile nothing is scanned twice, and frozen objects stay on pages that a fork shares.
    """
    skipped = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:  # a broken extra, or a module that exits: the others still count
            skipped[name] = f"{type(error).__name__}: {error}"
    gc.collect()
    gc.freeze()
    with suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return skipped
