"""A scikit-learn model as its parts - transformers, then what predicts - and the methods that are made of them.

Nothing here imports scikit-learn: what kind each part is has been found out before (`plan`), and of the parts only
the numbers are read that they have learned.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

from zeroflow.models.compiled import linear, trees

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]


def of(model: Any) -> list[Any]:
    """Return a pipeline's parts in their order, or the model alone."""
    return [part for _, part in model.steps] if hasattr(model, "steps") else [model]


def methods(model: Any, kinds: Sequence[str]) -> Mapping[str, Method] | None:
    """Return the methods of a model whose parts are of these kinds; None when one is of a form that is not known."""
    *before, last = of(model)
    steps = [linear.STEPS[kind](part) for kind, part in zip(kinds, before, strict=False)]
    found = {**linear.HEADS, **trees.HEADS}[kinds[-1]](last)
    if found is None or not steps:
        return found
    return {name: _after(steps, method) for name, method in found.items()}


def _after(steps: list[Method], method: Method) -> Method:
    return lambda rows: method(reduce(lambda found, step: step(found), steps, rows))
