"""What the evidence so far says: go on, the next step, promotion, rollback.

Rolled back: when one metric shows the canary worse than its margin allows, or one guard is shown to be broken; the
risks of all of them add up to alpha. Promoted: when every metric shows it better than its margin demands, at the last
step before 100; a canary that is not is promoted with probability at most alpha. Compared is what happened at the
same time: the traffic's own rate may change while the canary's share grows, and then sums over all steps would hold the
hours with few of the canary's requests against the stable revision (Simpson's paradox). The evidence of steps, each of
which has its own rates, is multiplied. The next step: when the canary has had enough requests at this one and nothing
speaks against it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.inference.canary.policy import AGREEMENT, Metric, Policy
from zeroflow.functions.inference.canary.sequential import (
    Count,
    difference,
    evidence_above,
    evidence_better,
    evidence_worse,
)

HOLD, ADVANCE, PROMOTE, ROLL_BACK, GIVE_UP = "hold", "advance", "promote", "roll_back", "give_up"


@dataclass(frozen=True)
class Evidence:
    """What has been counted of one canary."""

    canary: Mapping[str, Count]
    """By metric or guard: while it has its present share, as all below."""
    stable: Mapping[str, Count]
    requests: int
    """Of the canary, in all."""
    requests_at_step: int
    """Of the canary, since it has its present share."""
    before: Sequence[tuple[Mapping[str, Count], Mapping[str, Count]]] = ()
    """The canary's and the stable revision's counts at each earlier step."""
    unplaced: Mapping[str, Count] = field(default_factory=dict)
    """Of the canary, while shares changed: for what compares it with nothing."""

    def pairs(self, metric: str) -> list[tuple[Count, Count]]:
        """Return the canary's and the stable revision's counts by step, the present one last."""
        return [
            (canary.get(metric, Count()), stable.get(metric, Count()))
            for canary, stable in (*self.before, (self.canary, self.stable))
        ]

    def of_canary(self, metric: str) -> Count:
        """Return the canary's counts at all times."""
        return sum((canary for canary, _ in self.pairs(metric)), self.unplaced.get(metric, Count()))


@dataclass(frozen=True)
class Decision:
    """What to do, and why."""

    action: str
    reason: str
    numbers: Mapping[str, Any]
    """By metric: both arms' counts, the difference's confidence sequence, the evidence."""


def decide(policy: Policy, step: int, evidence: Evidence) -> Decision:
    """Return what to do with a canary that is at `step` of its policy."""
    numbers = {**_compared(policy, evidence), **_guarded(policy, evidence)}
    needed = math.log(1 / policy.rollback_alpha)
    for name, found in numbers.items():
        if found["evidence_worse"] >= needed:
            return Decision(ROLL_BACK, f"{name}: {found['says']}", numbers)
    last = step == len(policy.steps) - 2
    better = all(numbers[metric.name]["evidence_better"] >= math.log(1 / policy.alpha) for metric in policy.metrics)
    shadowed = policy.steps[step] == 0
    had = evidence.of_canary(AGREEMENT).total if shadowed else evidence.requests_at_step
    ripe = had >= policy.min_requests
    if shadowed:  # afterwards there are no copies, and so no more evidence of agreement
        ripe = ripe and all(
            numbers[metric.name]["evidence_better"] >= math.log(1 / policy.alpha)
            for metric in policy.metrics
            if metric.name == AGREEMENT
        )
    if last and better and ripe:
        said = "; ".join(f"{metric.name}: {numbers[metric.name]['says']}" for metric in policy.metrics)
        return Decision(PROMOTE, said, numbers)
    if not last and ripe:
        following = policy.steps[step + 1]
        kind = "copies of requests" if shadowed else "requests"
        reason = f"{had} {kind} at {policy.steps[step]} % and nothing against it: {following} %"
        return Decision(ADVANCE, reason, numbers)
    if policy.max_requests and evidence.requests >= policy.max_requests:
        return Decision(
            GIVE_UP, f"{evidence.requests} requests have not told canary and stable revision apart", numbers
        )
    return Decision(HOLD, "the evidence does not decide yet", numbers)


def _compared(policy: Policy, evidence: Evidence) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for metric in policy.metrics:
        if metric.name == AGREEMENT:
            found[metric.name] = _agreement(metric, evidence.of_canary(AGREEMENT))
            continue
        pairs = evidence.pairs(metric.name)
        canary, stable = pairs[-1]
        low, high = difference(canary, stable, policy.alpha)
        found[metric.name] = {
            "canary": {"bad": canary.bad, "total": canary.total, "rate": round(canary.rate, 6)},
            "stable": {"bad": stable.bad, "total": stable.total, "rate": round(stable.rate, 6)},
            "margin": metric.margin,
            "difference": [round(low, 6), round(high, 6)],
            "evidence_worse": round(_all(evidence_worse, pairs, metric.margin), 4),
            "evidence_better": round(_all(evidence_better, pairs, metric.margin), 4),
            "steps": [[[one.bad, one.total] for one in pair] for pair in pairs],
            "says": f"{_share(canary)} of the canary's and {_share(stable)} of the stable revision's are bad"
            f"{' at this step' if len(pairs) > 1 else ''}; the difference is {low:+.4f} to {high:+.4f} with confidence "
            f"{1 - policy.alpha:g} at all times" + (f", {metric.margin:g} is allowed" if metric.margin else ""),
        }
    return found


def _all(
    evidence: Callable[[Count, Count, float], float], pairs: Sequence[tuple[Count, Count]], margin: float
) -> float:
    """Return the log evidence of all steps; one at which an arm had no events says nothing."""
    return sum(evidence(canary, stable, margin) for canary, stable in pairs if canary.total and stable.total)


def _agreement(metric: Metric, copies: Count) -> dict[str, Any]:
    same = Count(copies.total - copies.bad, copies.total)
    return {
        "canary": {"bad": copies.bad, "total": copies.total, "rate": round(copies.rate, 6)},
        "bound": metric.margin,
        "evidence_worse": round(evidence_above(copies, metric.margin), 4),
        "evidence_better": round(evidence_above(same, 1 - metric.margin), 4),
        "says": f"{_share(copies)} of the canary's answers to copies differ from the stable revision's, "
        f"{metric.margin:g} may",
    }


def _guarded(policy: Policy, evidence: Evidence) -> dict[str, dict[str, Any]]:
    found = {}
    for guard in policy.guards:
        canary = evidence.of_canary(guard.name)
        bad = "answers to copies differ" if guard.name == AGREEMENT else "are bad"
        found[f"guard {guard.name}"] = {
            "canary": {"bad": canary.bad, "total": canary.total, "rate": round(canary.rate, 6)},
            "bound": guard.bound,
            "evidence_worse": round(evidence_above(canary, guard.bound), 4),
            "says": f"{_share(canary)} of the canary's {bad}, {guard.bound:g} is allowed",
        }
    return found


def _share(count: Count) -> str:
    return f"{count.bad} of {count.total}" + (f" ({count.rate:.2%})" if count.total else "")
