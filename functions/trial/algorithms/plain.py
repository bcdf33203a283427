"""Searches that do not look at results: random, grid, Sobol."""

from __future__ import annotations

import math
import random
import warnings

from zeroflow.functions.trial.algorithms import stream
from zeroflow.functions.trial.algorithms.history import Search, Suggested
from zeroflow.functions.trial.algorithms.space import drawn, draws, value_at

PLACE = "zeroflow.dev/place"
"""Label of a suggestion: its place in the grid or sequence; places that do not fulfil the constraints are left out."""


def by_chance(search: Search) -> Suggested:
    """Return parameters drawn from their distributions: what Optuna's random sampler draws with the same seed."""
    before = search.number * sum(map(draws, search.parameters))
    chance = search.chance() if search.attempt else stream.forwarded(search.seed, before)
    return Suggested({each.name: drawn(each, chance) for each in search.parameters})


def grid_size(search: Search) -> int:
    """Return how many combinations there are."""
    return math.prod(len(each.grid() or ()) for each in search.parameters)


def by_grid(search: Search) -> Suggested | None:
    """Return the next combination, None after the last: the last parameter changes fastest, or all by random_state."""
    size, tried = grid_size(search), [int(each.labels.get(PLACE, -1)) for each in search.history]
    index = max(tried, default=-1) + 1 + search.attempt
    if tried and min(tried) < 0:  # recorded before places were
        index = search.number + search.attempt
    if index >= size:
        return None
    place_label = {PLACE: str(index)}
    if "random_state" in search.settings:
        order = list(range(size))
        random.Random(search.seed).shuffle(order)  # noqa: S311  # as above
        index = order[index]
    chosen: dict[str, str] = {}
    for parameter in reversed(search.parameters):
        values = parameter.grid() or ()
        index, place = divmod(index, len(values))
        chosen[parameter.name] = values[place]
    return Suggested({each.name: chosen[each.name] for each in search.parameters}, place_label)


def by_sobol(search: Search) -> Suggested:
    """Return the next point of a scrambled Sobol sequence, which fills the space evenly."""
    from scipy.stats import qmc  # type: ignore[import-untyped]  # scipy ships no types

    tried = [int(each.labels.get(PLACE, -1)) for each in search.history]
    index = max((search.number - 1, *tried)) + 1 + search.attempt
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sequence = qmc.Sobol(len(search.parameters), scramble=True, seed=search.seed)
        if index:
            sequence.fast_forward(index)
        point = sequence.random(1)[0]
    return Suggested(
        {each.name: value_at(each, float(at)) for each, at in zip(search.parameters, point, strict=True)},
        {PLACE: str(index)},
    )
