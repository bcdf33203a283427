"""A canary that is only looked at: it gets copies, and how often it agrees decides whether it gets traffic."""

import pytest

from inference.test_canary import ONE, TWO, begin, observation, observe, share, told
from zeroflow.events import Outbox
from zeroflow.events.publisher import NoSink
from zeroflow.functions.inference.canary.policy import policy_of
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.rollout import Rollout, traffic
from zeroflow.functions.predictor.telling.shadow import agree
from zeroflow.metadata import Database
from zeroflow.predictions.observation import Observation

SHADOWED = {
    "zeroflow.dev/rollout": "auto",
    "zeroflow.dev/rollout-shadow": "true",
    "zeroflow.dev/rollout-steps": "20,100",
    "zeroflow.dev/rollout-metrics": "error-rate<=+0.5",
    "zeroflow.dev/rollout-guards": "agreement>=0.9",
    "zeroflow.dev/rollout-min-requests": "50",
}


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database, NoSink(), "/zeroflow/functions/inference")


def copies(agreed: int, differed: int, dropped: int = 0, of: str = TWO) -> Observation:
    counts = {"agreed": agreed, "differed": differed, "dropped": dropped}
    seen = observation(ONE, agreed + differed, shadow={of: counts})
    assert Observation.from_data(seen.to_data()) == seen
    return seen


def decisions(outbox: Outbox) -> list[tuple[str, int]]:
    return [(each["action"], each["percent"]) for each in told(outbox)["decisions"]]


def test_one_that_agrees_goes_on_to_the_first_step(outbox: Outbox) -> None:
    begin(outbox, SHADOWED)
    observe(outbox, copies(49, 0))
    assert decisions(outbox) == [("start", 0)]
    observe(outbox, copies(1, 0, dropped=7))
    assert decisions(outbox) == [("start", 0), ("advance", 20)]
    counts = {row["metric"]: (row["bad"], row["total"]) for row in told(outbox)["counts"] if row["arm"] == "canary"}
    assert counts == {"agreement": (0, 50), "copies-dropped": (7, 57)}


def test_one_that_differs_is_rolled_back_with_numbers(outbox: Outbox) -> None:
    begin(outbox, SHADOWED)
    observe(outbox, copies(10, 20))
    assert decisions(outbox) == [("start", 0), ("roll_back", 0)]
    last = told(outbox)["decisions"][-1]
    assert last["numbers"]["guard agreement"]["canary"] == {"bad": 20, "total": 30, "rate": 0.666667}
    assert share(outbox, "t2") == 0


def test_as_a_metric_agreement_must_be_shown_before_there_is_traffic(outbox: Outbox) -> None:
    begin(outbox, {**SHADOWED, "zeroflow.dev/rollout-metrics": "agreement>=0.9"})
    observe(outbox, copies(46, 4))
    assert decisions(outbox) == [("start", 0)]
    observe(outbox, copies(100, 0))
    assert decisions(outbox) == [("start", 0), ("advance", 20)]


def test_only_copies_to_this_canary_by_the_stable_revision_count(outbox: Outbox) -> None:
    begin(outbox, SHADOWED)
    observe(outbox, copies(0, 50, of="m-predictor-00009"))
    observe(outbox, observation(TWO, 50, shadow={TWO: {"differed": 50}}))
    assert told(outbox)["state"] == "running"
    assert [row for row in told(outbox)["counts"] if row["metric"] == "agreement"] == []


def test_it_has_an_address_and_no_share() -> None:
    newest, stable = traffic(0, Rollout(ONE), tagged=True, shadowed=True)
    assert (newest["percent"], newest["tag"]) == (0, "shadow")
    assert (stable["revisionName"], stable["percent"]) == (ONE, 100)


@pytest.mark.parametrize(
    "given",
    [
        {"zeroflow.dev/rollout-shadow": "yes"},
        {"zeroflow.dev/rollout-shadow": "false"},
        {"zeroflow.dev/rollout-guards": "agreement<=0.9"},
        {"zeroflow.dev/rollout-metrics": "agreement"},
        {"zeroflow.dev/rollout-guards": "agreement>=1.5"},
    ],
)
def test_what_cannot_be_read_is_refused(given: dict[str, str]) -> None:
    with pytest.raises(Refused, match="rollout-"):
        policy_of({**SHADOWED, **given})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"predictions":[1,2]}', b'{"predictions":[1,2],"model_version":"2"}', True),
        (b'{"predictions":[1,2]}', b'{"predictions":[1,3]}', False),
        (b'{"predictions":[1.00000]}', b'{"predictions":[1.00005]}', True),
        (b'{"predictions":[1.0]}', b'{"predictions":[1.001]}', False),
        (b'{"predictions":[0.0]}', b'{"predictions":[1e-7]}', True),
        (b'{"predictions":[true]}', b'{"predictions":[1]}', False),
        (b'{"predictions":[1.0]}', b'{"predictions":["1"]}', False),
        (b'{"predictions":[{"p":0.5}]}', b'{"predictions":[{"p":0.5}]}', True),
        (b'{"predictions":[1]}', b'{"predictions":[1,1]}', False),
        (b'{"predictions":[1]}', b'{"error":"no"}', False),
        (b'{"predictions":[1]}', b"<html>", False),
        (b'{"predictions":[1]}', b"3", False),
        (
            b'{"id":"a","outputs":[{"name":"o","shape":[1],"data":[1.0]}]}',
            b'{"id":"b","outputs":[{"name":"o","shape":[1],"datatype":"FP32","data":[1.0]}]}',
            True,
        ),
    ],
)
def test_when_two_answers_agree(one: bytes, other: bytes, same: bool) -> None:
    assert agree(one, other) is same
