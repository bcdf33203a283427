"""CMA-ES, by the `cmaes` package that Optuna uses.

The optimiser is rebuilt from the history: each suggestion carries the generation it belongs to as a label, and the
generations that are complete are told again, in order. A trial without a value counts as the worst. Parameters with a
list are not the optimiser's business; they are drawn by chance.
"""

from __future__ import annotations

import random

from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried
from zeroflow.functions.trial.algorithms.space import coordinate_of, value_at
from zeroflow.tuning.spec import Parameter

GENERATION = "zeroflow.dev/generation"
SIGMA = 1 / 6
"""The first step size, in shares of each parameter's range."""


def by_cmaes(search: Search) -> Suggested:
    """Return a candidate of the present generation."""
    import numpy
    from cmaes import CMA  # type: ignore[import-untyped]  # cmaes ships no types

    numeric = [each for each in search.parameters if each.is_numeric]
    optimizer = CMA(
        mean=numpy.full(len(numeric), 0.5),
        sigma=float(search.settings.get("sigma", SIGMA)),
        bounds=numpy.array([[0.0, 1.0]] * len(numeric)),
        seed=search.seed_of("cmaes") % (2**31),
    )
    generation = 0
    while (told := _complete(search, generation, optimizer.population_size)) is not None:
        worst = max((search.loss(each) for each in told if each.value is not None), default=0.0)
        optimizer.tell(
            [(numpy.array(_point(numeric, each)), worst if each.value is None else search.loss(each)) for each in told]
        )
        generation += 1
    point = dict(zip((each.name for each in numeric), optimizer.ask(), strict=True))
    chance = random.Random(search.seed_of())  # noqa: S311  # not a secret: it must be repeatable
    drawn = {each.name: chance.random() for each in search.parameters}
    chosen = {each.name: value_at(each, float(point.get(each.name, drawn[each.name]))) for each in search.parameters}
    return Suggested(chosen, {GENERATION: str(generation)})


def _complete(search: Search, generation: int, size: int) -> list[Tried] | None:
    """Return the trials of a generation by which it is judged, None while too few have ended."""
    ended = [each for each in search.history if each.labels.get(GENERATION) == str(generation) and not each.running]
    return ended[:size] if len(ended) >= size else None


def _point(numeric: list[Parameter], tried: Tried) -> list[float]:
    return [coordinate_of(each, tried.parameters[each.name]) for each in numeric]
