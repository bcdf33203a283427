"""Loaded by Python when a trial starts whose metrics are pushed: gives its namespace where a pod has it in a file.

Only the one path is answered, and only when there is no such file. A `sitecustomize` of the trial's own is loaded too.
"""

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
from typing import Any

NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
_open = builtins.open


def _open_or_answer(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
    if file == NAMESPACE_FILE and mode == "r" and not os.path.exists(file):
        return io.StringIO(os.environ.get("ZEROFLOW_TRIAL_NAMESPACE", "default"))
    return _open(file, mode, *args, **kwargs)


builtins.open = _open_or_answer

_others = [entry for entry in sys.path if os.path.abspath(entry) != os.path.dirname(os.path.abspath(__file__))]
_own = importlib.machinery.PathFinder.find_spec("sitecustomize", _others)
if _own is not None and _own.loader is not None:
    _own.loader.exec_module(importlib.util.module_from_spec(_own))
