"""Canaries that decide: what is declared, what predictors observe, what follows from it - on both databases."""

import dataclasses
import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from zeroflow.errors import InvalidInput
from zeroflow.events.outbox import Outbox
from zeroflow.events.publisher import NoSink
from zeroflow.functions.inference.canary import rollouts, telling
from zeroflow.functions.inference.canary.named import with_policy
from zeroflow.functions.inference.canary.policy import ERRORS, QUALITY, Guard, Metric, Policy, policy_of
from zeroflow.functions.inference.refusal import Refused
from zeroflow.metadata import Database
from zeroflow.metadata.events import EventRecord
from zeroflow.predictions.latency import Latency, bucket
from zeroflow.predictions.observation import OBSERVED, Observation

AUTO = {
    "zeroflow.dev/rollout": "auto",
    "zeroflow.dev/rollout-steps": "20,100",
    "zeroflow.dev/rollout-min-requests": "20",
}
ONE, TWO = "m-predictor-00001", "m-predictor-00002"


def test_policy_is_read_whole() -> None:
    annotations = {
        "zeroflow.dev/rollout": "auto",
        "zeroflow.dev/rollout-steps": "10, 100",
        "zeroflow.dev/rollout-metrics": "error-rate<=+0.01, latency-p99, quality",
        "zeroflow.dev/rollout-guards": "error-rate<=0.05, latency-p95<=250ms",
        "zeroflow.dev/rollout-alpha": "0.01",
    }
    assert policy_of(annotations) == Policy(
        steps=(10, 100),
        metrics=(Metric(ERRORS, 0.01), Metric("latency-p99"), Metric(QUALITY)),
        guards=(Guard(ERRORS, 0.05), Guard("latency-p95<=250ms", pytest.approx(0.05), 0.25)),
        alpha=0.01,
    )
    assert policy_of({}) is policy_of({"zeroflow.dev/rollout": "manual"}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rollout", "yes"),
        ("rollout-steps", "50,20,100"),
        ("rollout-steps", "5,20"),
        ("rollout-steps", "100"),
        ("rollout-metrics", "speed"),
        ("rollout-metrics", "error-rate, error-rate"),
        ("rollout-guards", "latency<=1"),
        ("rollout-alpha", "0"),
        ("rollout-min-requests", "0"),
        ("rollout-speed", "fast"),
    ],
)
def test_a_policy_that_cannot_be_read_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(Refused, match=f"zeroflow.dev/{name}|rollout-"):
        policy_of({"zeroflow.dev/rollout": "auto", f"zeroflow.dev/{name}": value})


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database, NoSink(), "/zeroflow/functions/inference")


def isvc(annotations: dict[str, str] = AUTO) -> dict[str, Any]:
    return {"metadata": {"namespace": "default", "name": "m", "uid": "u1", "annotations": annotations}}


def begin(outbox: Outbox, annotations: dict[str, str] = AUTO) -> None:
    with outbox.transaction() as tx:
        rollouts.begin(tx, isvc(annotations), "t2", TWO, ONE)


def observation(revision: str, requests: int, failed: int = 0, slow: int = 0, **fields: Any) -> Observation:
    latency = Latency({bucket(0.01): requests - slow, bucket(0.5): slow})
    errors = {"model": failed} if failed else {}
    return Observation("m", "default", revision, "m", "pod", "1", 1, 0, 1, requests, errors, latency, **fields)


def observe(outbox: Outbox, *seen: Observation) -> None:
    for each in seen:
        with outbox.transaction() as tx:
            rollouts.observe(tx, each)


def told(outbox: Outbox) -> dict[str, Any]:
    with outbox.database.reading() as session:
        return telling.rollouts_of(session, "default", "m")[0]


def share(outbox: Outbox, template: str) -> int | None:
    policy = policy_of(AUTO)
    assert policy is not None
    with outbox.database.reading() as session:
        return rollouts.share(session, "u1", template, policy)


def test_worse_canary_is_rolled_back_and_the_event_has_the_numbers(outbox: Outbox) -> None:
    begin(outbox)
    observe(outbox, observation(ONE, 400, failed=4), observation(TWO, 100, failed=30), observation(TWO, 100, failed=30))
    rollout = told(outbox)
    assert (rollout["state"], rollout["canary"], rollout["stable"]) == ("rolled_back", TWO, ONE)
    assert [decision["action"] for decision in rollout["decisions"]] == ["start", "roll_back"]
    assert {row["arm"]: (row["bad"], row["total"]) for row in rollout["counts"]} == {
        "canary": (30, 100),
        "stable": (4, 400),
    }
    assert share(outbox, "t2") == 0
    with outbox.database.reading() as session:
        last = session.scalars(select(EventRecord).order_by(EventRecord.seq.desc())).first()
        assert last is not None
        assert last.data is not None
        assert (last.type, last.data["action"], last.data["percent"]) == (rollouts.DECIDED, "roll_back", 0)
        assert last.data["numbers"][ERRORS]["canary"] == {"bad": 30, "total": 100, "rate": 0.3}


def test_better_canary_is_promoted_and_an_equal_one_is_left(outbox: Outbox) -> None:
    begin(outbox)
    observe(outbox, observation(ONE, 4000, failed=40), observation(TWO, 1000, failed=10))
    assert told(outbox)["state"] == "running"
    assert share(outbox, "t2") == 20
    observe(outbox, observation(ONE, 4000, failed=400), observation(TWO, 1000, failed=10))
    assert told(outbox)["state"] == "promoted"
    assert share(outbox, "t2") is None


def test_slow_canary_is_rolled_back_by_the_stable_revisions_own_quantile(outbox: Outbox) -> None:
    annotations = {**AUTO, "zeroflow.dev/rollout-metrics": "latency-p95"}
    begin(outbox, annotations)
    observe(outbox, observation(ONE, 600, slow=6), observation(ONE, 400, slow=4), observation(TWO, 100, slow=1))
    assert told(outbox)["state"] == "running"
    observe(outbox, observation(TWO, 100, slow=60))
    assert told(outbox)["state"] == "rolled_back"
    assert "latency-p95" in told(outbox)["decisions"][-1]["reason"]


def test_steps_are_taken_one_by_one(outbox: Outbox) -> None:
    begin(outbox, {**AUTO, "zeroflow.dev/rollout-steps": "5,20,100"})
    observe(outbox, observation(ONE, 500), observation(TWO, 19))
    assert [each["percent"] for each in told(outbox)["decisions"]] == [5]
    observe(outbox, observation(TWO, 19), observation(TWO, 19), observation(TWO, 19))
    assert [each["percent"] for each in told(outbox)["decisions"]] == [5, 20]


def test_what_happened_at_one_step_is_compared_with_nothing_of_another(outbox: Outbox) -> None:
    """Every request failed while the canary had 5 %, none since: an equal canary, whatever the sums say."""
    begin(outbox, {**AUTO, "zeroflow.dev/rollout-steps": "5,50,100"})
    observe(outbox, observation(ONE, 1_900, failed=1_900), observation(TWO, 100, failed=100))
    moved_ms = told(outbox)["decisions"][-1]["time_ms"]
    assert [each["percent"] for each in told(outbox)["decisions"]] == [5, 50]

    def window(revision: str, requests: int, failed: int, start_ms: int, end_ms: int) -> Observation:
        return replace(observation(revision, requests, failed), start_ms=start_ms, end_ms=end_ms)

    settled_ms = moved_ms + rollouts.SETTLING_MS
    observe(outbox, *(window(revision, 1_000, 0, settled_ms, settled_ms + 1_000) for revision in (ONE, TWO)))
    observe(outbox, window(ONE, 100, 100, moved_ms - 900, moved_ms))  # told of when the next step has begun
    observe(outbox, window(ONE, 50, 50, moved_ms - 500, moved_ms + 500), window(ONE, 7, 7, moved_ms + 10, settled_ms))
    found = told(outbox)
    assert found["state"] == "running"
    assert {row["arm"]: (row["bad"], row["total"]) for row in found["counts"]} == {
        "canary": (100, 1_100),
        "stable": (2_057, 3_057),
    }
    observe(outbox, window(TWO, 200, 60, settled_ms, settled_ms + 1_000))
    last = told(outbox)["decisions"][-1]
    assert last["action"] == "roll_back"
    assert last["numbers"][ERRORS]["steps"] == [[[100, 100], [2_000, 2_000]], [[60, 1_200], [0, 1_000]]]
    assert "at this step" in last["reason"]


def test_a_second_canary_supersedes_the_first_and_others_do_not_count(outbox: Outbox) -> None:
    begin(outbox)
    with outbox.transaction() as tx:
        rollouts.begin(tx, isvc(), "t3", "m-predictor-00003", ONE)
    observe(outbox, observation(TWO, 100, failed=100), observation(ONE, 100))
    with outbox.database.reading() as session:
        newest, first = telling.rollouts_of(session, "default", "m")
    assert (first["state"], newest["state"]) == ("superseded", "running")
    assert all(row["arm"] == "stable" for row in newest["counts"])


def test_a_transformers_canary_is_decided_beside_the_predictors(outbox: Outbox) -> None:
    before, after = "m-transformer-00001", "m-transformer-00002"
    policy = {
        **AUTO,
        "zeroflow.dev/rollout-shadow": "true",
        "zeroflow.dev/rollout-metrics": "error-rate<=+0.1, quality, agreement>=0.9",
        "zeroflow.dev/rollout-guards": "agreement>=0.9, error-rate<=0.5",
    }
    begin(outbox, policy)
    with outbox.transaction() as tx:
        rollouts.begin(tx, isvc(policy), "t-transformer", after, before)
    with outbox.database.reading() as session:
        transformers, predictors = telling.rollouts_of(session, "default", "m")
    assert (transformers["state"], predictors["state"]) == ("running", "running")
    assert [each["decisions"][0]["percent"] for each in (transformers, predictors)] == [20, 0]  # no copies to it
    observe(outbox, observation(before, 400), observation(after, 100, failed=60))
    assert told(outbox)["state"] == "rolled_back"
    with outbox.database.reading() as session:
        predictors = telling.rollouts_of(session, "default", "m")[1]
    assert (predictors["state"], predictors["counts"]) == ("running", [])
    with outbox.transaction() as tx:
        rollouts.begin(tx, isvc(policy), "t-another", "m-transformer-00003", before)
    observe(outbox, observation(before, 2000), observation("m-transformer-00003", 2000))
    assert told(outbox)["state"] == "promoted"


def test_what_cannot_judge_a_transformer_leaves_it_to_people() -> None:
    policy = policy_of({**AUTO, "zeroflow.dev/rollout-metrics": "quality"})
    assert policy is not None
    assert policy.of_transformer() is None


@pytest.mark.parametrize(
    ("annotations", "said"),
    [
        ({"reference": "teacher"}, "a reference needs copies of requests"),
        ({"reference": "http://elsewhere/", "shadow": "true"}, "the name of an InferenceService"),
    ],
)
def test_a_reference_is_an_inference_service_and_needs_copies(annotations: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        policy_of({**AUTO, **{f"zeroflow.dev/rollout-{name}": value for name, value in annotations.items()}})


def test_an_observation_is_counted_once_however_often_it_is_told(cluster: Any) -> None:
    """Each `(source, id)` is handled once: the function's own guarantee, here with evidence."""
    outbox = Outbox(cluster.database, NoSink(), "/zeroflow/functions/inference")
    named = isvc()
    named["metadata"] |= {"name": "once-counted", "uid": "u9"}
    with outbox.transaction() as tx:
        rollouts.begin(tx, named, "t2", TWO, ONE)
    seen = dataclasses.replace(observation(TWO, 10), inferenceservice="once-counted")
    headers = {"ce-specversion": "1.0", "ce-type": OBSERVED, "ce-source": seen.source, "ce-id": str(uuid.uuid4())}
    for _ in range(3):
        answer = cluster.client.post(
            "/", data=json.dumps(seen.to_data()), headers={**headers, "content-type": "application/json"}
        )
        assert answer.status_code == 204
    why = cluster.client.get("/api/inference/v1/rollouts/default/once-counted").get_json()["rollouts"]
    assert why[0]["requests"] == 10
    assert cluster.client.get("/api/inference/v1/rollouts/default/none").status_code == 404


@pytest.fixture
def models(cluster: Any, constant: Any) -> list[str]:
    return [cluster.put(f"models/auto/{number}/model.joblib", constant(number)) for number in (1, 2)]


def test_without_a_rolled_out_revision_there_is_no_canary(cluster: Any, models: list[str]) -> None:
    cluster.apply("fresh", {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": models[0]}}, AUTO)
    assert [target["percent"] for target in cluster.service("fresh")["spec"]["traffic"]] == [100]


def test_a_rollout_policy_says_what_annotations_would(cluster: Any, models: list[str]) -> None:
    named = {"zeroflow.dev/rollout-policy": "careful", "zeroflow.dev/rollout-alpha": "0.01"}
    spec = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": models[0]}}
    isvc = cluster.apply("by-policy", spec, named)
    ready = next(each for each in isvc["status"]["conditions"] if each["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "RolloutPolicyNotFound")
    wanted = {"steps": [10, 100], "metrics": ["error-rate<=+0.01", "latency-p99"], "minRequests": 50, "shadow": False}
    policy = {
        "apiVersion": "zeroflow.dev/v1alpha1",
        "kind": "RolloutPolicy",
        "metadata": {"name": "careful", "namespace": "default"},
        "spec": {**wanted, "alpha": 0.1},
    }
    cluster.tell(cluster.resources.apply(policy))
    assert cluster.service("by-policy")["spec"]["traffic"][0]["percent"] == 100
    found = policy_of(with_policy(cluster.resources, cluster.get("by-policy"))["metadata"]["annotations"])
    assert found == Policy(
        steps=(10, 100), metrics=(Metric("error-rate", 0.01), Metric("latency-p99")), alpha=0.01, min_requests=50
    )
    annotations = cluster.get("by-policy")["metadata"]["annotations"]
    assert annotations == named  # what the policy says is not written to who names it


@pytest.mark.parametrize("spec", [{"steps": "5,100"}, {"steps": [0, 100]}, {"metrics": []}, {"minRequests": 0}])
def test_a_rollout_policy_that_cannot_be_meant_is_refused_at_once(cluster: Any, spec: dict[str, Any]) -> None:
    metadata = {"name": "wrong", "namespace": "default"}
    policy = {"apiVersion": "zeroflow.dev/v1alpha1", "kind": "RolloutPolicy", "metadata": metadata, "spec": spec}
    with pytest.raises(InvalidInput, match=next(iter(spec))):
        cluster.resources.apply(policy)
