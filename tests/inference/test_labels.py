"""Labels that come later, joined with what predictors recorded, on both databases; forged ones move nothing."""

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import func, select

from zeroflow.events.outbox import Outbox
from zeroflow.events.publisher import NoSink
from zeroflow.functions.inference.canary import labels, rollouts, telling
from zeroflow.metadata import Database
from zeroflow.metadata.rollouts import UNPLACED, PredictionRecord, RolloutCount
from zeroflow.predictions.feedback import FEEDBACK, Feedback
from zeroflow.predictions.latency import Latency
from zeroflow.predictions.observation import OBSERVED, Observation
from zeroflow.predictions.recorded import RECORDED, Recorded

AUTO = {
    "zeroflow.dev/rollout": "auto",
    "zeroflow.dev/rollout-steps": "20,100",
    "zeroflow.dev/rollout-metrics": "quality",
    "zeroflow.dev/rollout-min-requests": "20",
}
ONE, TWO = "m-predictor-00001", "m-predictor-00002"


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database, NoSink(), "/zeroflow/functions/inference")


def begin(outbox: Outbox, name: str = "m", **more: str) -> None:
    annotations = AUTO | {f"zeroflow.dev/rollout-{option.replace('_', '-')}": value for option, value in more.items()}
    isvc = {"metadata": {"namespace": "default", "name": name, "uid": f"u-{name}", "annotations": annotations}}
    with outbox.transaction() as tx:
        rollouts.begin(tx, isvc, "t2", TWO, ONE)


def record(outbox: Outbox, revision: str, predicted: dict[str, list[Any]]) -> None:
    told = Recorded("m", "default", revision, "pod", "1", 1, tuple((i, tuple(rows)) for i, rows in predicted.items()))
    with outbox.transaction() as tx:
        labels.remember(tx, told)


def label(outbox: Outbox, request_id: str, *true: Any, **said: Any) -> None:
    with outbox.transaction() as tx:
        labels.judge(tx, Feedback(request_id, true, "m", "default", **said))


def count_requests(outbox: Outbox, revision: str, requests: int) -> None:
    seen = Observation("m", "default", revision, "m", "pod", "1", 1, 0, 1, requests, {}, Latency({1: requests}))
    with outbox.transaction() as tx:
        rollouts.observe(tx, seen)


def told(outbox: Outbox) -> dict[str, Any]:
    with outbox.database.reading() as session:
        return telling.rollouts_of(session, "default", "m")[0]


def quality(outbox: Outbox) -> dict[str, tuple[int, int]]:
    return {row["arm"]: (row["bad"], row["total"]) for row in told(outbox)["counts"] if row["metric"] == "quality"}


def records(outbox: Outbox) -> int:
    with outbox.database.reading() as session:
        return session.scalar(select(func.count(PredictionRecord.id))) or 0


def test_labels_that_come_later_decide_by_quality(outbox: Outbox) -> None:
    begin(outbox)
    count_requests(outbox, ONE, 400)
    count_requests(outbox, TWO, 100)
    record(outbox, ONE, {f"s{n}": [n % 2] for n in range(80)})
    record(outbox, TWO, {f"c{n}": [1] for n in range(41)})
    for n in range(80):
        label(outbox, f"s{n}", 1)
    assert quality(outbox) == {"stable": (40, 80)}
    assert told(outbox)["state"] == "running"
    for n in range(41):
        label(outbox, f"c{n}", 1 if n else 0)
    assert told(outbox)["state"] == "promoted"
    assert 80 < told(outbox)["labels"] < 121  # those that it took
    assert records(outbox) == 0  # what is decided needs none


def test_labels_may_come_before_the_record_and_count_once(outbox: Outbox) -> None:
    begin(outbox)
    label(outbox, "a", 1, 0)
    record(outbox, TWO, {"a": [1, 1], "b": [5]})
    record(outbox, TWO, {"a": [0, 0]})  # an id that is used again: the first answer counts
    record(outbox, ONE, {"a": [0, 0]})
    label(outbox, "a", 0, 0)  # corrected, and too late
    label(outbox, "b", 5, 5)  # not one for each row
    assert quality(outbox) == {"canary": (1, 2)}


def test_what_callers_say_of_predictions_and_revisions_moves_nothing(outbox: Outbox) -> None:
    """The attack: labels for requests that nobody made, with predictions and a revision of the attacker's choice."""
    begin(outbox)
    count_requests(outbox, ONE, 400)
    count_requests(outbox, TWO, 100)
    for n in range(200):
        label(outbox, f"made-up-{n}", 1, revision=TWO, predictions=(1,))
        label(outbox, f"made-up-too-{n}", 1, revision=ONE, predictions=(0,))
    record(outbox, ONE, {"real": [1]})
    label(outbox, "real", 0, revision=TWO, predictions=(0,))  # counts for who answered, by what was answered
    assert told(outbox)["state"] == "running"
    assert quality(outbox) == {"stable": (1, 1)}


def test_only_chosen_callers_labels_count(outbox: Outbox) -> None:
    begin(outbox, labels_from="ada, system:serviceaccount:default:labeller")
    record(outbox, TWO, {"a": [1], "b": [1], "c": [1]})
    label(outbox, "a", 0, caller="mallory")
    label(outbox, "b", 0)
    label(outbox, "a", 1, caller="ada")
    label(outbox, "c", 1, caller="system:serviceaccount:default:labeller")
    assert quality(outbox) == {"canary": (0, 2)}


def test_records_are_bounded_and_other_revisions_are_not_kept(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "MAX_RECORDS", 10)
    begin(outbox)
    record(outbox, "m-predictor-00009", {"x": [1]})
    assert records(outbox) == 0
    record(outbox, TWO, {f"c{n}": [1] for n in range(25)})
    assert records(outbox) == 10
    label(outbox, "c0", 1)
    label(outbox, "c24", 1)
    assert quality(outbox) == {"canary": (0, 1)}


def test_without_the_metric_nothing_is_recorded(outbox: Outbox) -> None:
    begin(outbox, metrics="error-rate")
    record(outbox, TWO, {"a": [1]})
    label(outbox, "a", 1)
    assert (records(outbox), quality(outbox)) == (0, {})


@pytest.mark.parametrize("kind", [OBSERVED, RECORDED, FEEDBACK])
def test_predictors_of_one_service_have_no_say_in_anothers_rollout(cluster: Any, kind: str) -> None:
    """The attack: a predictor's own token lets it publish under its own source - with data that name a victim."""
    outbox = Outbox(cluster.database, NoSink(), "/zeroflow/functions/inference")
    victim = f"victim-{kind.rpartition('.')[2]}"
    begin(outbox, victim, metrics="quality, error-rate")
    data = {
        OBSERVED: Observation(victim, "default", TWO, "m", "p", "1", 1, 0, 1, 900, {"model": 900}, Latency({1: 900})),
        RECORDED: Recorded(victim, "default", TWO, "p", "1", 1, (("a", (1,)),)),
        FEEDBACK: Feedback("a", (0,), victim, "default"),
    }[kind].to_data()

    def send(source: str) -> int:
        headers = {"ce-specversion": "1.0", "ce-type": kind, "ce-source": source, "ce-id": str(uuid.uuid4())}
        headers["content-type"] = "application/json"
        return int(cluster.client.post("/", data=json.dumps(data), headers=headers).status_code)

    for source in ("/zeroflow/predictors/default/mallory/p", f"/zeroflow/predictors/other/{victim}/p", "/elsewhere"):
        assert send(source) == 403
    with outbox.database.reading() as session:
        found = telling.rollouts_of(session, "default", victim)[0]
    assert (found["state"], found["counts"], found["labels"]) == ("running", [], 0)
    assert send(f"/zeroflow/predictors/default/{victim}/p") == 204


def test_a_label_counts_for_the_step_at_which_its_request_was_answered(outbox: Outbox) -> None:
    begin(outbox, steps="5,50,100")
    record(outbox, TWO, {"early": [1]})
    count_requests(outbox, ONE, 400)
    count_requests(outbox, TWO, 20)  # on to the next step
    record(outbox, TWO, {"meanwhile": [1]})
    label(outbox, "early", 1)
    label(outbox, "meanwhile", 1)
    with outbox.database.reading() as session:
        counted = select(RolloutCount.step, RolloutCount.total).where(RolloutCount.metric == "quality")
        assert sorted(session.execute(counted).all()) == [(UNPLACED, 1), (0, 1)]
