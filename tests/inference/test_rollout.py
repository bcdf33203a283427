"""KServe's rules of canary traffic, case by case. The expected values are those of the contract's semantics.json."""

from typing import Any

import pytest

from zeroflow.functions.inference.rollout import Rollout, advanced, traffic

ONE, TWO = "m-predictor-00001", "m-predictor-00002"


@pytest.mark.parametrize(
    ("percent", "rolled_out", "expected"),
    [
        (None, None, [(True, None, 100, None)]),
        (20, None, [(True, None, 100, None)]),
        (20, ONE, [(True, None, 20, None), (False, ONE, 80, "prev")]),
        (0, ONE, [(True, None, 0, None), (False, ONE, 100, "prev")]),
        (100, ONE, [(True, None, 100, None)]),
        (None, ONE, [(True, None, 100, None)]),
    ],
    ids=["first", "first-with-percent", "canary", "pinned", "promoted-by-100", "promoted-by-absence"],
)
def test_traffic(percent: int | None, rolled_out: str | None, expected: list[Any]) -> None:
    targets = traffic(percent, Rollout(rolled_out), tagged=False)
    assert [(t["latestRevision"], t.get("revisionName"), t["percent"], t.get("tag")) for t in targets] == expected


def test_latest_is_tagged_only_when_asked_for() -> None:
    assert [target.get("tag") for target in traffic(20, Rollout(ONE), tagged=True)] == ["latest", "prev"]


def service(created: str, ready: str | None, *targets: tuple[str, bool, int], observed: int = 1) -> dict[str, Any]:
    status = {
        "observedGeneration": observed,
        "latestCreatedRevisionName": created,
        "latestReadyRevisionName": ready,
        "traffic": [{"revisionName": name, "latestRevision": latest, "percent": p} for name, latest, p in targets],
    }
    return {"metadata": {"generation": 1}, "status": status}


@pytest.mark.parametrize(
    ("before", "found", "after"),
    [
        (Rollout(), service(ONE, None), Rollout()),
        (Rollout(), service(ONE, ONE, (ONE, True, 100)), Rollout(ONE)),
        (Rollout(ONE), service(TWO, TWO, (TWO, True, 20), (ONE, False, 80)), Rollout(ONE)),
        (Rollout(ONE), service(TWO, TWO, (TWO, True, 100)), Rollout(TWO, ONE)),
        (Rollout(TWO, ONE), service(TWO, TWO, (TWO, True, 20), (TWO, False, 80)), Rollout(ONE, ONE)),
        (Rollout(TWO), service(TWO, TWO, (TWO, True, 20), (TWO, False, 80)), Rollout(TWO)),
        (Rollout(ONE), service(TWO, TWO, (TWO, True, 100), observed=0), Rollout(ONE)),
        (Rollout(TWO, ONE), service("m-predictor-00003", TWO, (TWO, True, 20), (TWO, False, 80)), Rollout(TWO, ONE)),
    ],
    ids=["none-ready", "first", "canary", "promoted", "taken-back", "nothing-before", "old-status", "next-not-ready"],
)
def test_rollout_follows_what_knative_says(before: Rollout, found: dict[str, Any], after: Rollout) -> None:
    assert advanced(before, found) == after
