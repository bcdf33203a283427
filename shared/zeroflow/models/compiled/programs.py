"""Which cheaper form a PyTorch program gets, if any: numpy for a fully connected network, else a frozen module.

Guarantees as those of `plan`: nothing here raises; what cannot be compared with the original on rows made up for it,
answers otherwise, or is no faster, stays as it is, and the reason is said.
"""

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from zeroflow.models.compiled import check, networks
from zeroflow.models.estimator import Tensor
from zeroflow.models.tensormodel import Faster, Run

Array = np.ndarray[Any, Any]

TOLERANCE = 1e-5
"""float32 sums of another order; relative to the larger of 1 and the largest answer of a row."""
WORTH, NO_WORSE = 1.1, 1.2
"""So much faster for one row, and at most so much slower for BATCH."""
BATCH = 32
OUTPUT = "output-0"
SIDES = (32, 224, 28)
"""Images that a convolution is tried on: a TorchScript module does not say what it takes."""


def faster(torch: Any, module: Any, program: Any, inputs: Sequence[Tensor], original: Run) -> Faster:
    """Return how a module is run; `program` is the exported program it comes from, or None for TorchScript."""
    try:
        if len(inputs) != 1 or inputs[0].datatype != "FP32":
            return Faster(original, "original, cpu: it takes something else than one float32 tensor")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TorchScript is deprecated is known to who has saved it
            frozen = None if program is not None else torch.jit.freeze(copy.deepcopy(module))
        steps = networks.of_program(program) if frozen is None else networks.of_script(frozen)
        if steps is not None:
            found = _network(steps, inputs[0].name, original)
            return replace(found, parts=_named(steps, module)) if frozen is not None and found.width else found
        if frozen is None:
            return Faster(original, "original, cpu: it is no fully connected network")
        return _frozen(torch, module, frozen, inputs[0].name, original)
    except Exception as error:  # a graph may hold anything; the original still serves
        return Faster(original, f"original, cpu: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def network(steps: Sequence[networks.Step], name: str, original: Run) -> Run:
    """Return how a network is run on its input `name`; what it does not take goes to the original."""
    width, quick = networks.width_of(steps), networks.joined(steps)

    def run(given: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Array]:
        rows = given[name]
        if rows.ndim != 2 or rows.shape[1] != width or rows.dtype != np.float32:
            return original(given, wanted)  # which says what is wrong
        return {each: quick(rows) for each in wanted if each == OUTPUT}

    return run


def _network(steps: Sequence[networks.Step], name: str, original: Run) -> Faster:
    width, run = networks.width_of(steps), network(steps, name, original)
    rows = check.rows_for(None, width, True).astype(np.float32)
    infinite = np.full((2, width), [[np.inf], [-np.inf]], dtype=np.float32)
    found = _checked(original, run, name, [rows, rows[:1], infinite], "compiled to numpy")
    return replace(found, width=width) if found.run is run else found


def _named(steps: Sequence[networks.Step], module: Any) -> tuple[tuple[str, ...], ...]:
    """Return the steps with the names of the module's parameters that they use; none when one is not to be found."""
    known = {name: each.detach().numpy() for name, each in module.named_parameters()}
    named = []
    for kind, *arrays in steps:
        used = [array for array in arrays if array is not None]
        names = [next((name for name, each in known.items() if np.array_equal(each, array)), None) for array in used]
        if None in names:
            return ()
        named.append((kind, *map(str, names)))
    return tuple(named)


def _frozen(torch: Any, module: Any, frozen: Any, name: str, original: Run) -> Faster:
    def run(given: Mapping[str, Any], wanted: tuple[str, ...]) -> dict[str, Array]:
        with torch.inference_mode():
            try:
                found = frozen(torch.tensor(given[name]))
            except RuntimeError:
                return original(given, wanted)
            return {each: found.numpy() for each in wanted if each == OUTPUT}

    for rows in _images(module):
        try:
            single = len(original({name: rows}, (OUTPUT, "output-1"))) == 1
        except (ValueError, RuntimeError):
            continue
        if not single:
            break
        return _checked(original, run, name, [rows, 10 * rows, np.zeros_like(rows)], "frozen")
    return Faster(original, "original, cpu: it does not say what it takes, so that nothing else could be compared")


def _images(module: Any) -> Iterator[Array]:
    """Yield rows that a module's first convolution may take."""
    first = next((each for each in module.parameters() if each.dim() > 1), None)
    if first is not None and first.dim() == 4:
        random = np.random.default_rng(20260821)
        for side in SIDES:
            yield random.standard_normal((2, first.shape[1], side, side)).astype(np.float32)


def _checked(original: Run, run: Run, name: str, given: Sequence[Array], how: str) -> Faster:
    worst = 0.0
    for rows in given:
        was, now = original({name: rows}, (OUTPUT,)), run({name: rows}, (OUTPUT,))
        worst = max(worst, networks.difference(was[OUTPUT], now[OUTPUT]))
    if worst > TOLERANCE:
        return Faster(original, f"original, cpu: {how}, it differs by {worst:.1e}, allowed are {TOLERANCE:.0e}")
    for rows in (given[0][:1], given[0][:BATCH]):
        before = check.cost_s(partial(original, {name: rows}, (OUTPUT,)))
        after = check.cost_s(partial(run, {name: rows}, (OUTPUT,)))
        if after > before * (1 / WORTH if len(rows) == 1 else NO_WORSE):
            took = f"{after * 1e6:.0f} us for {len(rows)} rows instead of {before * 1e6:.0f}"
            return Faster(original, f"original, cpu: {how}, it takes {took}")
    total = sum(len(rows) for rows in given)
    return Faster(run, f"{how}, equal within {TOLERANCE:.0e} (checked on {total} rows), cpu")
