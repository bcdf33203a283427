"""Which cheaper form a loaded model gets, if any.

Guarantees: nothing here raises; a model that cannot be compiled, that answers otherwise on the rows of `check`, or
that is no faster, stays as it is, and the reason is in `why` - for the log and the model's metadata.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zeroflow.models.compiled import check

logger = logging.getLogger(__name__)

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]

WORTH = 1.3
"""A converted model must be this much faster on one row."""


@dataclass(frozen=True)
class Plan:
    """How a model is asked: through `methods` where they are, else through the original."""

    why: str
    """For people: what serves, and why not something faster."""
    methods: Mapping[str, Method] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    """Of an exact plan: what the model's parts are (`parts`)."""


def compiled(model: Any, width: int, missing: bool, original: Callable[[str, Array], Array]) -> Plan:
    """Return the plan for a fitted scikit-learn model over `width` columns of numbers."""
    try:
        with np.errstate(all="ignore"):
            return _plan(model, width, missing, original)
    except ImportError as error:
        return Plan(f"original: compiling needs {error.name}, which is missing")
    except Exception as error:  # a converter raises anything; the original still serves
        return Plan(f"original: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _plan(model: Any, width: int, missing: bool, original: Callable[[str, Array], Array]) -> Plan:
    if hasattr(model, "boosted"):
        return _boosted(model, width, original)
    rows = check.rows_for(model, width, missing)
    methods, kinds = _exact(model)
    if methods is not None:
        found = check.difference(methods, original, rows)
        if found <= check.EXACT:
            return Plan(f"compiled, exact (checked on {len(rows)} rows)", methods, kinds)
        return Plan(f"original: compiled answers differ by {found:.1e}")
    from zeroflow.models.compiled import converted

    return _close("converted to ONNX", converted.heads(model, width), original, rows)


def _boosted(model: Any, width: int, original: Callable[[str, Array], Array]) -> Plan:
    """Return the plan for a booster of XGBoost or LightGBM, which `boosted` reads."""
    found = model.boosted()
    if found is None:
        return Plan("original: its trees split, or its objective is linked, as is not known here")
    methods, trees = found
    near = np.concatenate([each.threshold[each.left >= 0] for each in trees[:20]])[:1000]
    return _close("compiled", methods, original, check.rows_for(model, width, True, near))


def _close(how: str, methods: Mapping[str, Method], original: Callable[[str, Array], Array], rows: Array) -> Plan:
    """Return the plan for methods that are not exact by their making: equal within a tolerance, and faster."""
    single = original("predict", rows[:1]).dtype == np.float32
    allowed = check.TOLERANCE_FLOAT32 if single else check.TOLERANCE
    found = check.difference(methods, original, rows)
    if found > allowed:
        return Plan(f"original: {how}, answers differ by {found:.1e}, allowed are {allowed:.0e}")
    before = check.cost_s(lambda: original("predict", rows[:1]))
    after = check.cost_s(lambda: methods["predict"](rows[:1]))
    if after * WORTH > before:
        return Plan(f"original: {how} it takes {after * 1e6:.0f} us for a row instead of {before * 1e6:.0f}")
    return Plan(f"{how}, equal within {allowed:.0e} (checked on {len(rows)} rows)", methods)


def _exact(model: Any) -> tuple[Mapping[str, Method] | None, tuple[str, ...]]:
    """Return the methods of a model of known parts, and what these are; no methods when a part is not known."""
    from zeroflow.models.compiled import linear, parts, trees

    *before, last = parts.of(model)
    kinds = [*map(linear.step_kind, before), linear.head_kind(last) or trees.head_kind(last)]
    known = tuple(kind for kind in kinds if kind is not None)
    return (parts.methods(model, known), known) if len(known) == len(kinds) else (None, ())
