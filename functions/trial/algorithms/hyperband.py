"""Hyperband: many trials with little of a resource, the best of them again with more.

Bracket s (from s_max down to 0) begins with n = ceil((s_max + 1) / (s + 1) * eta^s) trials of r_l * eta^-s of the
resource; each rung repeats the best 1/eta of the one before with eta times as much. A rung follows when the one before
has ended. Each suggestion carries its place (bracket, rung, index) as labels, so that the state is the history.
Source: Li et al., Hyperband, JMLR 18 (2018), algorithm 1; settings of Katib's hyperband.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from zeroflow.functions.trial.algorithms.history import WAIT, Search, Suggested, Tried, Wait
from zeroflow.functions.trial.algorithms.plain import by_chance
from zeroflow.tuning.spec import Parameter

BRACKET, RUNG = "hyperband.zeroflow.dev/bracket", "hyperband.zeroflow.dev/rung"
INDEX = "hyperband.zeroflow.dev/index"
ETA = 3


def largest_bracket(r_l: float, eta: int) -> int:
    """Return s_max: how often the resource can be divided by eta."""
    return int(math.log(r_l) / math.log(eta) + 1e-9) if r_l >= 1 and eta > 1 else 0


def eta_of(settings: Mapping[str, str]) -> int:
    """Return eta as Katib reads it."""
    eta = int(float(settings.get("eta", ETA)))
    return eta if eta > 1 else ETA


def rungs(r_l: float, eta: int) -> Iterator[tuple[int, int, int, float]]:
    """Yield (bracket, rung, how many trials, how much of the resource) in order."""
    s_max = largest_bracket(r_l, eta)
    for s in range(s_max, -1, -1):
        count = math.ceil((s_max + 1) / (s + 1) * eta**s)
        for rung in range(s + 1):
            yield s, rung, max(1, math.floor(count * eta**-rung)), r_l * float(eta) ** (rung - s)


def by_hyperband(search: Search) -> Suggested | Wait | None:
    """Return the next trial of the present rung; wait for a rung to end; None after the last."""
    settings = search.settings
    eta, resource = eta_of(settings), settings["resource_name"]
    parameter = next(each for each in search.parameters if each.name == resource)
    before: list[Tried] = []
    for bracket, rung, count, amount in rungs(float(settings["r_l"]), eta):
        place = {BRACKET: str(bracket), RUNG: str(rung)}
        members = [each for each in search.history if place.items() <= each.labels.items()]
        if rung and any(each.running for each in before):
            return WAIT
        wanted = min(count, sum(each.value is not None for each in before)) if rung else count
        if len(members) < wanted:
            labels = {**place, INDEX: str(len(members))}
            base = _best(search, before)[len(members)].parameters if rung else by_chance(search).parameters
            return Suggested({**base, resource: _amount(parameter, amount)}, labels, repairs=bool(rung))
        before = members
    return None


def _best(search: Search, tried: list[Tried]) -> list[Tried]:
    return sorted((each for each in tried if each.value is not None), key=search.loss)


def _amount(parameter: Parameter, amount: float) -> str:
    return str(max(1, int(amount + 1e-9))) if parameter.kind != "double" else repr(amount)
