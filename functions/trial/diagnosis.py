"""Why a trial failed, in one line, with the cure where there is one.

`KatibClient.tune()` ships the source of the objective function and nothing around it: a module that is imported, or a
name that is defined, outside the function does not exist in the trial.
"""

from __future__ import annotations

import re
import sys

EXCEPTION = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit)(?::.*)?")
UNDEFINED = re.compile(r"NameError: name '([^']+)' is not defined")
MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([^']+)'")
ALIASES = {"np": "numpy as np", "pd": "pandas as pd", "plt": "matplotlib.pyplot as plt", "tf": "tensorflow as tf"}
LIBRARIES = {"numpy", "pandas", "torch", "sklearn", "scipy", "matplotlib", "tensorflow", "xgboost", "lightgbm"}
LINE_LIMIT = 300


def diagnosed(said: str) -> str:
    """Return what a failed program said last, and what to do about it when that is known."""
    line = said if len(said) <= LINE_LIMIT else said[: LINE_LIMIT - 3] + "..."
    if match := UNDEFINED.search(said):
        return f"{line}. {_cure(match[1])}"
    if match := MISSING_MODULE.search(said):
        package = match[1].split(".")[0]
        return f"{line}. Install {package} where trials run, or name it in packages_to_install of tune()"
    return line


def _cure(name: str) -> str:
    if name in ALIASES or name in LIBRARIES or name in sys.stdlib_module_names:
        do = f"write `import {ALIASES.get(name, name)}` inside the objective function"
    else:
        do = f"define {name} inside the objective function"
    return f"A trial gets the source of the objective function and nothing around it: {do}"
