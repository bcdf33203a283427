"""NSGA-II: a population that spreads along the best trade-offs between several objectives.

The first `population_size` trials are drawn by chance. Each later generation is bred from the survivors of all before
it: ranked by non-domination, then by crowding distance; parents by binary tournament; numbers by simulated binary
crossover and polynomial mutation in their coordinates, words swapped or drawn anew. The generation is a label, so the
state is the history.
Source: Deb et al., IEEE TEC 6 (2002); names of settings as in Optuna's NSGAIISampler.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from zeroflow.functions.trial.algorithms.history import WAIT, Search, Suggested, Tried, Wait
from zeroflow.functions.trial.algorithms.plain import by_chance
from zeroflow.functions.trial.algorithms.space import coordinate_of, value_at

GENERATION = "nsga2.zeroflow.dev/generation"
POPULATION, CROSSOVER, SWAPPING = 20, 0.9, 0.5
CROSSOVER_ETA, MUTATION_ETA = 15, 20
"""How near children stay to their parents, as in the paper."""


def by_nsga2(search: Search) -> Suggested | Wait:
    """Return the next child of the present generation."""
    size = int(search.settings.get("population_size", POPULATION))
    generation = search.number // size
    labels = {GENERATION: str(generation)}
    if generation == 0:
        return Suggested(by_chance(search).parameters, labels)
    before = [each for each in search.history if int(each.labels.get(GENERATION, 0)) < generation]
    if sum(each.running for each in before) > size // 2:
        return WAIT  # too little is known of the generation before
    found = [each for each in (*search.prior, *before) if _losses(search, each) is not None]
    if not found:
        return Suggested(by_chance(search).parameters, labels)
    parents = survivors(search, found, size)
    return Suggested(_child(search, parents), labels)


def front(search: Search, tried: Sequence[Tried]) -> list[Tried]:
    """Return the trials that no other is better than in every objective."""
    found = [each for each in tried if _losses(search, each) is not None]
    return _fronts(search, found)[0] if found else []


def survivors(search: Search, tried: Sequence[Tried], size: int) -> list[Tried]:
    """Return the best, by front and then by crowding distance; the first are the best."""
    kept: list[Tried] = []
    for each in _fronts(search, list(tried)):
        kept += sorted(each, key=_crowding(search, each), reverse=True)
        if len(kept) >= size:
            break
    return kept[:size]


def _child(search: Search, parents: list[Tried]) -> dict[str, str]:
    chance, settings = search.chance("nsga2"), search.settings
    mutation = float(settings.get("mutation_prob", 1 / max(1, len(search.parameters))))
    first, second = _tournament(parents, chance), _tournament(parents, chance)
    crosses = chance.random() < float(settings.get("crossover_prob", CROSSOVER))
    child: dict[str, str] = {}
    for each in search.parameters:
        swaps = crosses and chance.random() < float(settings.get("swapping_prob", SWAPPING))
        source, other = (second, first) if swaps else (first, second)
        mutates = chance.random() < mutation
        if each.name in source.inactive or (mutates and not each.is_numeric):
            child[each.name] = value_at(each, chance.random())
        elif not each.is_numeric or not (crosses or mutates):
            child[each.name] = source.parameters[each.name]
        else:
            place = coordinate_of(each, source.parameters[each.name])
            if crosses and each.name not in other.inactive:
                place = _crossed(place, coordinate_of(each, other.parameters[each.name]), chance)
            child[each.name] = value_at(each, _mutated(place, chance) if mutates else place)
    return child


def _crossed(own: float, other: float, chance: random.Random) -> float:
    """Return a point near the first of two (simulated binary crossover)."""
    u = chance.random()
    spread: float = (
        (2 * u) ** (1 / (CROSSOVER_ETA + 1)) if u <= 0.5 else (1 / (2 * (1 - u))) ** (1 / (CROSSOVER_ETA + 1))
    )
    return min(max(0.5 * ((1 + spread) * own + (1 - spread) * other), 0.0), 1.0)


def _mutated(place: float, chance: random.Random) -> float:
    """Return a point near another (polynomial mutation)."""
    u = chance.random()
    step: float = (2 * u) ** (1 / (MUTATION_ETA + 1)) - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** (1 / (MUTATION_ETA + 1))
    return min(max(place + step, 0.0), 1.0)


def _tournament(parents: list[Tried], chance: random.Random) -> Tried:
    return parents[min(chance.randrange(len(parents)), chance.randrange(len(parents)))]


def _fronts(search: Search, tried: list[Tried]) -> list[list[Tried]]:
    losses = [_losses(search, each) or () for each in tried]
    left, fronts = list(range(len(tried))), []
    while left:
        best = [at for at in left if not any(_dominates(losses[other], losses[at]) for other in left)]
        fronts.append([tried[at] for at in best])
        chosen = set(best)
        left = [at for at in left if at not in chosen]
    return fronts


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)


def _crowding(search: Search, tried: list[Tried]) -> Callable[[Tried], float]:
    distances = {id(each): 0.0 for each in tried}
    for objective in range(len(search.directions)):
        ranked = sorted(tried, key=lambda each: (_losses(search, each) or ())[objective])
        values = [(_losses(search, each) or ())[objective] for each in ranked]
        width = values[-1] - values[0] or 1.0
        distances[id(ranked[0])] = distances[id(ranked[-1])] = float("inf")
        for at in range(1, len(ranked) - 1):
            distances[id(ranked[at])] += (values[at + 1] - values[at - 1]) / width
    return lambda each: distances[id(each)]


def _losses(search: Search, tried: Tried) -> tuple[float, ...] | None:
    if len(tried.values) != len(search.directions) or any(value is None for value in tried.values):
        return None
    signs = (-1.0 if maximize else 1.0 for maximize in search.directions)
    return tuple(sign * value for sign, value in zip(signs, tried.values, strict=True) if value is not None)
