"""The canary's test keeps its promises, by simulation: how often it is wrong, how soon it decides.

Each simulated canary gets 20 % of the traffic and is looked at after every 50 requests, as often as nobody should
look at a test of fixed size.
"""

import math
import random

import pytest

from zeroflow.functions.inference.canary.decide import ADVANCE, GIVE_UP, HOLD, PROMOTE, ROLL_BACK, Evidence, decide
from zeroflow.functions.inference.canary.policy import ERRORS, Guard, Metric, Policy
from zeroflow.functions.inference.canary.sequential import (
    Count,
    difference,
    evidence_above,
    evidence_better,
    evidence_worse,
)

SHARE, LOOK = 0.2, 50


def simulated(
    draw: random.Random, canary_rate: float, stable_rate: float, requests: int, alpha: float, margin: float = 0.0
) -> tuple[str, int]:
    """Return how a canary ended and after how many requests."""
    canary, stable = Count(), Count()
    limit = math.log(1 / alpha)
    for seen in range(LOOK, requests + 1, LOOK):
        of_canary = sum(draw.random() < SHARE for _ in range(LOOK))
        canary += Count(sum(draw.random() < canary_rate for _ in range(of_canary)), of_canary)
        of_stable = LOOK - of_canary
        stable += Count(sum(draw.random() < stable_rate for _ in range(of_stable)), of_stable)
        if evidence_worse(canary, stable, margin) >= limit:
            return "worse", seen
        if evidence_better(canary, stable, margin) >= limit:
            return "better", seen
    return "undecided", requests


@pytest.mark.parametrize(("rate", "runs"), [(0.5, 100), (0.1, 60)], ids=["half", "tenth"])
def test_equal_canaries_are_decided_no_more_often_than_the_bound(rate: float, runs: int) -> None:
    """At alpha 0.2 on each side: at most 40 % of them, and binomial luck (3.5 standard deviations)."""
    draw = random.Random(7)
    ends = [simulated(draw, rate, rate, 1500, alpha=0.2)[0] for _ in range(runs)]
    for wrong in ("better", "worse"):
        assert ends.count(wrong) / runs <= 0.2 + 3.5 * math.sqrt(0.2 * 0.8 / runs)


def test_worse_and_better_canaries_are_told_apart_from_stable_ones() -> None:
    draw = random.Random(11)
    for canary, stable, expected in ((0.10, 0.02, "worse"), (0.02, 0.10, "better"), (0.02, 0.02, "undecided")):
        ends = [simulated(draw, canary, stable, 5000, alpha=0.05)[0] for _ in range(10)]
        assert ends.count(expected) == 10, (canary, stable, ends)


@pytest.mark.scale
def test_false_promotions_and_sample_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    """Print expected sample sizes; the share of wrong decisions of 10,000 requests is at most alpha."""
    draw, alpha, runs = random.Random(3), 0.05, 300
    lines = ["canary  stable  margin  worse   better  undecided  requests until decided (mean)"]
    for canary, stable, margin in (
        (0.02, 0.02, 0.0),
        (0.5, 0.5, 0.0),
        (0.10, 0.02, 0.0),
        (0.05, 0.02, 0.0),
        (0.03, 0.02, 0.0),
        (0.02, 0.10, 0.0),
        (0.02, 0.05, 0.0),
        (0.02, 0.02, 0.02),
        (0.02, 0.00, 0.02),
    ):
        ends = [simulated(draw, canary, stable, 10_000, alpha, margin) for _ in range(runs)]
        share = {end: sum(found == end for found, _ in ends) / runs for end in ("worse", "better", "undecided")}
        decided = [seen for end, seen in ends if end != "undecided"]
        mean = f"{sum(decided) / len(decided):.0f}" if decided else "-"
        row = "".join(f"{share[end]:<8.3f}" for end in ("worse", "better", "undecided"))
        lines.append(f"{canary:<8}{stable:<8}{margin:<8}{row}   {mean}")
        slack = 3.5 * math.sqrt(alpha * (1 - alpha) / runs)
        if canary >= stable + margin:
            assert share["better"] <= alpha + slack
        if canary <= stable + margin:
            assert share["worse"] <= alpha + slack
    with capsys.disabled():
        print("\n" + "\n".join(lines))


def test_confidence_sequence_holds_the_difference_and_narrows() -> None:
    wide = difference(Count(2, 20), Count(8, 80), 0.05)
    narrow = difference(Count(200, 2000), Count(800, 8000), 0.05)
    assert wide[0] < narrow[0] < 0 < narrow[1] < wide[1]
    low, high = difference(Count(300, 1000), Count(100, 1000), 0.05)
    assert 0 < low < 0.2 < high


def test_evidence_and_confidence_sequence_agree() -> None:
    for canary, stable in (
        (Count(30, 200), Count(20, 800)),
        (Count(3, 200), Count(90, 800)),
        (Count(5, 50), Count(5, 50)),
    ):
        low, high = difference(canary, stable, 0.05)
        assert (evidence_worse(canary, stable) >= math.log(20)) == (low > 0)
        assert (evidence_better(canary, stable) >= math.log(20)) == (high < 0)


def test_nothing_seen_is_no_evidence() -> None:
    assert evidence_worse(Count(), Count()) == evidence_better(Count(), Count()) == 0
    assert difference(Count(), Count(), 0.05) == (-1.0, 1.0)
    assert evidence_above(Count(10, 10), 0.1) > math.log(1e6)
    assert evidence_above(Count(1, 100), 0.1) < 0


POLICY = Policy(steps=(5, 20, 100), min_requests=50, max_requests=5000)


def seen(canary: Count, stable: Count, at_step: int | None = None) -> Evidence:
    return Evidence({ERRORS: canary}, {ERRORS: stable}, canary.total, canary.total if at_step is None else at_step)


@pytest.mark.parametrize(
    ("step", "evidence", "action"),
    [
        (0, seen(Count(0, 10), Count(0, 90)), HOLD),
        (0, seen(Count(0, 50), Count(0, 900)), ADVANCE),
        (0, seen(Count(20, 30), Count(0, 500)), ROLL_BACK),
        (1, seen(Count(0, 1000), Count(0, 4000)), HOLD),
        (1, seen(Count(10, 1000), Count(400, 4000)), PROMOTE),
        (1, seen(Count(10, 1000), Count(400, 4000), at_step=10), HOLD),
        (1, seen(Count(50, 5000), Count(200, 20000)), GIVE_UP),
    ],
    ids=["early", "next-step", "broken", "equal", "better", "better-but-young", "no-end"],
)
def test_decisions(step: int, evidence: Evidence, action: str) -> None:
    decision = decide(POLICY, step, evidence)
    assert decision.action == action
    assert decision.reason
    assert decision.numbers[ERRORS]["difference"]


def test_a_margin_promotes_what_is_not_worse_and_a_guard_rolls_back() -> None:
    policy = Policy(steps=(20, 100), metrics=(Metric(ERRORS, 0.02),), guards=(Guard(ERRORS, 0.01),), min_requests=1)
    equal = seen(Count(0, 1000), Count(0, 4000))
    assert decide(policy, 0, equal).action == PROMOTE
    both_bad = seen(Count(60, 1000), Count(240, 4000))
    found = decide(policy, 0, both_bad)
    assert (found.action, found.reason.split(":")[0]) == (ROLL_BACK, "guard error-rate")


def drifting(draw: random.Random, early: float, late: float, worse: float, told_late: int = 0) -> str:
    """Return how a canary ends when the traffic's own rate changes while its share grows.

    With `told_late` what happened is known so many requests later, as labels are.
    """
    policy = Policy(steps=(5, 20, 50, 100), min_requests=100, max_requests=10**9)
    counts = [[Count(), Count()] for _ in policy.steps]
    waiting: list[tuple[int, int, Count, Count]] = []
    step = began = of_canary = 0
    for at in range(0, 12_000, 200):
        rate = early if at < 2_500 else late
        size = sum(draw.random() < policy.steps[step] / 100 for _ in range(200))
        canary = Count(sum(draw.random() < rate + worse for _ in range(size)), size)
        stable = Count(sum(draw.random() < rate for _ in range(200 - size)), 200 - size)
        waiting.append((at, step, canary, stable))
        of_canary += size
        while waiting and waiting[0][0] <= at - told_late:
            _, then, canary, stable = waiting.pop(0)
            counts[then] = [counts[then][0] + canary, counts[then][1] + stable]
        before = [({ERRORS: one}, {ERRORS: other}) for one, other in counts[:step]]
        seen = Evidence({ERRORS: counts[step][0]}, {ERRORS: counts[step][1]}, of_canary, of_canary - began, before)
        action = decide(policy, step, seen).action
        if action == ADVANCE:
            step, began = step + 1, of_canary
        elif action != HOLD:
            return action
    return HOLD


@pytest.mark.parametrize("told_late", [0, 3_000], ids=["at-once", "late"])
@pytest.mark.parametrize(("early", "late"), [(0.30, 0.05), (0.02, 0.20)], ids=["falling", "rising"])
@pytest.mark.parametrize(("worse", "end"), [(0.0, HOLD), (0.10, ROLL_BACK)], ids=["equal", "worse"])
def test_traffic_whose_rate_changes_makes_no_canary_better_or_worse(
    monkeypatch: pytest.MonkeyPatch, early: float, late: float, worse: float, end: str, told_late: int
) -> None:
    """Simpson's paradox: most of the stable revision's requests come early, most of the canary's late."""
    told = "zeroflow.functions.inference.canary.decide.difference"
    monkeypatch.setattr(told, lambda *_: (0.0, 0.0))  # is only told, and takes most of the time
    assert [drifting(random.Random(seed), early, late, worse, told_late) for seed in range(4)] == [end] * 4
