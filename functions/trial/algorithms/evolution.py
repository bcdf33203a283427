"""CMA-ES, by the `cmaes` package that Optuna uses.

The optimiser is rebuilt from the history: each suggestion carries the generation it belongs to as a label, and the
generations that are complete are told again, in order. A trial without a value counts as the worst. The first trials,
until one has ended, and parameters with a list are drawn by chance. One trial after another, suggestions are those of
Optuna's sampler in one process with the same seed.
"""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

from zeroflow.functions.trial.algorithms import stream
from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried
from zeroflow.functions.trial.algorithms.space import coordinate_of, drawn, draws, value_at
from zeroflow.tuning.spec import Parameter

GENERATION = "zeroflow.dev/generation"
SIGMA = 1 / 6
"""The first step size, in shares of each parameter's range."""


def by_cmaes(search: Search) -> Suggested:
    """Return a candidate of the present generation."""
    numeric = sorted((each for each in search.parameters if each.is_numeric and draws(each)), key=lambda p: p.name)
    others = [each for each in search.parameters if each not in numeric]
    chance = search.chance() if search.attempt else stream.forwarded(search.seed, _drawn(search, others))
    if not any(each.value is not None for each in search.known):
        return Suggested({each.name: drawn(each, chance) for each in search.parameters})
    optimizer, generation, restarts = _begun(search, numeric, 0), 0, 0
    while (told := _complete(search, generation, optimizer.population_size)) is not None:
        optimizer = deepcopy(optimizer)  # Optuna pickles it between trials, which makes its matrix symmetric
        _tell(search, optimizer, numeric, told)
        generation += 1
        if search.settings.get("restart_strategy") == "ipop" and optimizer.should_stop():
            restarts += 1
            optimizer = _begun(search, numeric, restarts)
    if any(each.labels.get(GENERATION) == str(generation) for each in search.history):
        optimizer = deepcopy(optimizer)
    optimizer._rng.seed(_seed(search, generation))
    point = dict(zip((each.name for each in numeric), _asked(search, optimizer), strict=True))
    chosen = {
        each.name: drawn(each, chance) if each in others else value_at(each, float(point[each.name]))
        for each in search.parameters
    }
    return Suggested(chosen, {GENERATION: str(generation)})


def _drawn(search: Search, others: list[Parameter]) -> int:
    """Return how many random numbers were drawn for the suggestions before this one."""
    first = sum(GENERATION not in each.labels for each in search.history)
    return first * sum(map(draws, search.parameters)) + (search.number - first) * sum(map(draws, others))


def _seed(search: Search, generation: int) -> int:
    """Return the seed of this suggestion; Optuna draws one for each, and one more for each optimiser that it makes.

    It makes one anew until a trial of generation 1 was asked for, which keeps it.
    """
    import numpy

    seeds, kept = numpy.random.RandomState(search.seed & stream.WORD), False
    before = [each.labels[GENERATION] for each in search.history if GENERATION in each.labels]
    seed = 0
    for label in (*before, str(generation)):
        if not kept:
            seeds.randint(1, 2**31 - 2)
        kept = kept or label != "0"
        seed = seeds.randint(1, 2**16)
    return int(seed) + search.number


def _begun(search: Search, numeric: list[Parameter], restarts: int) -> Any:
    """Return a new optimiser: around the best of earlier Experiments, and twice as large after each restart."""
    import numpy
    from cmaes import CMA  # type: ignore[import-untyped]  # cmaes ships no types

    dimension = len(numeric)
    mean = numpy.full(dimension, 0.5)
    known = [each for each in search.prior if each.value is not None]
    if known and not restarts:
        mean = numpy.array(_point(numeric, min(known, key=search.loss)))
    elif restarts:
        mean = numpy.random.default_rng(search.seed + restarts).random(dimension)
    size = (4 + int(3 * math.log(dimension))) * 2**restarts
    return CMA(
        mean=mean,
        sigma=float(search.settings.get("sigma", SIGMA)),
        bounds=numpy.array([[0.0, 1.0]] * dimension),
        n_max_resampling=10 * dimension,
        population_size=size,
    )


def _asked(search: Search, optimizer: Any) -> Any:
    for _ in range(search.attempt):
        optimizer.ask()
    return optimizer.ask()


def _tell(search: Search, optimizer: Any, numeric: list[Parameter], told: list[Tried]) -> None:
    import numpy

    worst = max((search.loss(each) for each in told if each.value is not None), default=0.0)
    optimizer.tell(
        [(numpy.array(_point(numeric, each)), worst if each.value is None else search.loss(each)) for each in told]
    )


def _complete(search: Search, generation: int, size: int) -> list[Tried] | None:
    """Return the trials of a generation by which it is judged, None while too few have ended."""
    ended = [each for each in search.history if each.labels.get(GENERATION) == str(generation) and not each.running]
    return ended[:size] if len(ended) >= size else None


def _point(numeric: list[Parameter], tried: Tried) -> list[float]:
    return [
        0.5 if each.name in tried.inactive else coordinate_of(each, tried.parameters[each.name]) for each in numeric
    ]
