"""Whether a compiled model answers what the original answers, on rows made up for it.

The rows are what a model must bear: ordinary numbers of several scales, whole numbers, zeros, numbers far outside,
float32 and float64 neighbours of the thresholds where the model has such, and missing values where it bears them. It
is a test, not a proof: the proof, for the plans that claim to be exact, is that they compute the same operations.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]

ROWS = 64
EXACT, TOLERANCE, TOLERANCE_FLOAT32 = 1e-12, 1e-6, 1e-5
"""Relative to the larger of 1 and the original's answer; classes must be the same."""


def rows_for(model: Any, width: int, missing: bool, thresholds: Iterable[float] = ()) -> Array:
    """Return rows (n, width), float64, the same at every load; `thresholds` beside those of the model's own trees."""
    random = np.random.default_rng(20260821)
    center, spread = _scale(model, width)
    blocks = [
        center + spread * random.standard_normal((ROWS, width)),
        center + 10 * spread * random.standard_normal((ROWS, width)),
        np.round(center + spread * random.standard_normal((ROWS, width))),
        random.uniform(-1, 1, (ROWS, width)),
        np.zeros((1, width)),
        np.full((1, width), 1e6),
        np.full((1, width), -1e6),
    ]
    near = np.array([*_thresholds(model), *thresholds], dtype=np.float64)
    near = near[np.isfinite(near)]
    if near.size:
        edges = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)])
        blocks.append(random.choice(edges, (2 * ROWS, width)))
        blocks.append(random.choice(near.astype(np.float32).astype(np.float64), (2 * ROWS, width)))
    rows = np.concatenate(blocks)
    if missing:
        holes = rows[: 2 * ROWS].copy()
        holes[random.random(holes.shape) < 0.3] = np.nan
        rows = np.concatenate([rows, holes, np.full((1, width), np.nan)])
    return rows


def difference(methods: Mapping[str, Method], original: Callable[[str, Array], Array], rows: Array) -> float:
    """Return the largest relative difference; raise ValueError where classes, shapes or types differ."""
    worst = 0.0
    for name, method in methods.items():
        for given in (rows, rows[:1]):
            was, now = original(name, given), method(given)
            if was.shape != now.shape or was.dtype != now.dtype:
                raise ValueError(f"{name} answers {now.dtype}{list(now.shape)}, not {was.dtype}{list(was.shape)}")
            if was.dtype.kind != "f":
                if not np.array_equal(was, now):
                    raise ValueError(f"{name} answers otherwise in {(was != now).mean():.1%} of the rows")
                continue
            if not np.array_equal(np.isfinite(was), np.isfinite(now)):
                raise ValueError(f"{name} differs in what is finite")
            finite = np.isfinite(was)
            gap = np.abs(was[finite] - now[finite]) / np.maximum(1.0, np.abs(was[finite]))
            worst = max(worst, float(gap.max(initial=0.0)))
    return worst


def cost_s(call: Callable[[], object]) -> float:
    """Return the processor seconds that one call takes, however busy the machine is: the best of a few."""
    best = float("inf")
    for _ in range(6):
        began = time.thread_time()
        call()
        best = min(best, time.thread_time() - began)
    return best


def _scale(model: Any, width: int) -> tuple[Array, Array]:
    """Return where a column's values may lie: as the model's own scaler has seen them, else around 0."""
    first = model.steps[0][1] if getattr(model, "steps", None) else model
    center, spread = getattr(first, "mean_", None), getattr(first, "scale_", None)
    if isinstance(center, np.ndarray) and isinstance(spread, np.ndarray) and center.shape == spread.shape == (width,):
        return center, spread
    return np.zeros(width), np.full(width, 5.0)


def _thresholds(model: Any) -> Iterator[float]:
    """Yield some of the numbers that a model's trees compare with."""
    last = model.steps[-1][1] if getattr(model, "steps", None) else model
    trees = [getattr(each, "tree_", None) for each in np.ravel(getattr(last, "estimators_", [last]))[:20]]
    for tree in trees:
        if tree is not None:
            yield from tree.threshold[tree.children_left >= 0][:50]
    for predictors in getattr(last, "_predictors", [])[:20]:
        for predictor in predictors:
            found = predictor.nodes["num_threshold"][predictor.nodes["is_leaf"] == 0][:50]
            yield from found[np.isfinite(found)]
