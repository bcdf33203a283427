"""Population based training: a population is trained for a while, the worst go on from the best, the rest vary.

Generation g + 1 has a member for each member of generation g: those below the lower quantile continue a member from
above the upper one (its parameters and its checkpoint), the others continue themselves with each parameter times 0.8
or 1.2, or resampled with `resample_probability`. A member that fails is tried again. Generation, parent and slot are
labels of the suggestion; the collector copies the parent's checkpoint (`functions/trial/checkpoints.py`).

Unlike in Katib a member that is replaced continues the checkpoint of the one it copies, as in the paper, not its own.
Source: Jaderberg et al. 2017; Katib v1beta1 pbt (settings, labels).
"""

from __future__ import annotations

import random

from zeroflow.functions.trial.algorithms.history import WAIT, Search, Suggested, Tried, Wait
from zeroflow.functions.trial.algorithms.plain import by_chance
from zeroflow.functions.trial.algorithms.space import snapped
from zeroflow.tuning.spec import Parameter

GENERATION = "pbt.suggestion.katib.kubeflow.org/generation"
PARENT = "pbt.suggestion.katib.kubeflow.org/parent"
SLOT = "pbt.zeroflow.dev/slot"
FACTORS = (0.8, 1.2)
TRIES = 3
"""How often a member is tried that fails."""


def by_population(search: Search) -> Suggested | Wait:
    """Return the next member of the present generation; wait for a generation to end."""
    size = int(search.settings["n_population"])
    generation = 0
    parents: list[Tried] = []
    while True:
        members = [each for each in search.history if each.labels.get(GENERATION) == str(generation)]
        for slot in range(size):
            tried = [each for each in members if each.labels.get(SLOT) == str(slot)]
            if not tried:
                return _member(search, generation, slot, parents)
            if len(tried) < TRIES and not any(each.running or each.value is not None for each in tried):
                return Suggested(tried[-1].parameters, tried[-1].labels, repairs=True)
        if any(each.running for each in members):
            return WAIT
        parents = [each for each in members if each.value is not None]
        generation += 1


def _member(search: Search, generation: int, slot: int, parents: list[Tried]) -> Suggested:
    labels = {GENERATION: str(generation), SLOT: str(slot)}
    if not parents:
        return Suggested(by_chance(search).parameters, labels)
    ranked = sorted(parents, key=search.loss)
    cut = int(len(ranked) * float(search.settings["truncation_threshold"]))
    chance = random.Random(f"{search.seed}/{generation}/{slot}")  # noqa: S311  # it must be repeatable
    own = parents[slot % len(parents)]
    if cut and own in ranked[len(ranked) - cut :]:
        copied = chance.choice(ranked[:cut])
        return Suggested(copied.parameters, {**labels, PARENT: copied.name}, repairs=True)
    if search.attempt:
        chance = search.chance("pbt")
    varied = {each.name: _varied(each, own.parameters[each.name], search, chance) for each in search.parameters}
    return Suggested(varied, {**labels, PARENT: own.name})


def _varied(parameter: Parameter, value: str, search: Search, chance: random.Random) -> str:
    if "resample_probability" in search.settings:
        if chance.random() >= float(search.settings["resample_probability"]):
            return value
        from zeroflow.functions.trial.algorithms.space import value_at

        return value_at(parameter, chance.random())
    if parameter.is_numeric:
        moved = float(value) * chance.choice(FACTORS)
        return snapped(parameter, min(max(moved, parameter.low), parameter.high))
    at = parameter.choices.index(value) + chance.choice((-1, 1))
    return parameter.choices[min(max(at, 0), len(parameter.choices) - 1)]
