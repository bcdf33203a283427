"""Search spaces as they are written on the command line.

`n=1..9` whole numbers, `x=0.0..1.0` numbers, `x=0.0..1.0:0.1` in steps, `lr=log:1e-5..1e-1` on a logarithmic scale,
`opt=sgd,adam` one of several.
"""

from __future__ import annotations

import re
from typing import Any

from zeroflow.errors import InvalidInput

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"(log:)?({NUMBER})\.\.({NUMBER})(?::({NUMBER}))?")
WHOLE = re.compile(r"[+-]?\d+")


def parameter(written: str) -> dict[str, Any]:
    """Return a parameter of an Experiment; raise InvalidInput that shows the notation."""
    name, equals, space = written.partition("=")
    if not equals or not name.isidentifier():
        raise InvalidInput(f"--space {written}: expected name=LOW..HIGH or name=A,B,C")
    match = RANGE.fullmatch(space)
    if match is None:
        choices = [choice.strip() for choice in space.split(",")]
        if ".." in space or not all(choices):
            raise InvalidInput(f"--space {written}: expected LOW..HIGH, LOW..HIGH:STEP, log:LOW..HIGH or A,B,C")
        return {"name": name, "parameterType": "categorical", "feasibleSpace": {"list": choices}}
    log, low, high, step = match.groups()
    whole = all(WHOLE.fullmatch(number) for number in (low, high, step or "1"))
    feasible = {"min": low, "max": high, "distribution": "logUniform" if log else "uniform"}
    if step:
        feasible["step"] = step
    return {"name": name, "parameterType": "int" if whole else "double", "feasibleSpace": feasible}
