"""Predictions, counted by version, revision and caller, and sealed into the audit trail."""

import json
import uuid
from typing import Any

import pytest
from sqlalchemy import update

from registry.test_audit import TRAIL, records
from zeroflow.metadata import Database
from zeroflow.metadata.uses import HOUR_MS, ModelUse
from zeroflow.predictions.observation import OBSERVED, Observation


def observed(registry: Any, uri: str, callers: dict[str, int], revision: str = "m-00001", event: str = "") -> None:
    seen = Observation(
        inferenceservice="m",
        namespace="default",
        revision=revision,
        model="m",
        pod=f"{revision}-pod",
        process="1",
        sequence=1,
        start_ms=1_000,
        end_ms=2_000,
        requests=sum(callers.values()),
        callers=callers,
        uri=uri,
    )
    event_id = event or str(uuid.uuid4())
    answer = registry.deliver(seen.to_data(), event_id, event_type=OBSERVED, source=seen.source)
    assert answer.status == 204, answer


@pytest.fixture
def version(registry: Any) -> tuple[dict[str, Any], str]:
    made, uri = registry.version(), f"s3://models/{uuid.uuid4()}"
    registry.artifact(made, uri=uri)
    return made, uri


def uses(registry: Any, version: dict[str, Any]) -> list[tuple[str, str, int]]:
    answer = registry.raw("GET", f"{TRAIL}/uses", query={"version": version["id"]})
    assert answer.status == 200, answer
    return [(one["revision"], one["caller"], one["requests"]) for one in answer.body["items"]]


def test_predictions_are_counted_by_caller_and_revision_once(
    registry: Any, version: tuple[dict[str, Any], str]
) -> None:
    made, uri = version
    twice = str(uuid.uuid4())
    observed(registry, uri, {"user:ada": 3, "": 2}, event=twice)
    observed(registry, uri, {"user:ada": 3, "": 2}, event=twice)
    observed(registry, uri, {"user:ada": 4}, revision="m-00002")
    observed(registry, uri, {"user:ada": 10})
    assert uses(registry, made) == [
        ("m-00001", "anonymous", 2),
        ("m-00001", "user:ada", 13),
        ("m-00002", "user:ada", 4),
    ]


def test_an_hour_becomes_one_record_of_the_trail(registry: Any, version: tuple[dict[str, Any], str]) -> None:
    made, uri = version
    observed(registry, uri, {"user:ada": 3, "user:bob": 1})
    observed(registry, uri, {"user:ada": 2})
    entity = f"model_version/{made['id']}"
    assert "predict" not in [one["verb"] for one in records(registry, entity=entity)]
    database = Database(registry.database_url)
    with database.transaction() as session:  # as if the hour had gone by
        session.execute(
            update(ModelUse).where(ModelUse.entity_id == made["id"]).values(hour_ms=ModelUse.hour_ms - HOUR_MS)
        )
    database.close()
    for _ in range(2):
        (record,) = [one for one in records(registry, entity=entity) if one["verb"] == "predict"]
        assert record["after"]["callers"] == {"user:ada": 5, "user:bob": 1}
        assert record["after"]["requests"] == 6
    assert registry.raw("GET", f"{TRAIL}/verify").body["ok"]
    observed(registry, uri, {"user:ada": 1})
    assert uses(registry, made) == [("m-00001", "user:ada", 6), ("m-00001", "user:bob", 1)]


def test_a_predictor_writes_nothing_into_anothers_trail(registry: Any, version: tuple[dict[str, Any], str]) -> None:
    """The attack: a predictor's token is good for events of its own source, whatever their data say."""
    made, uri = version
    seen = Observation("m", "default", "m-00001", "m", "p", "1", 1, 0, 1, 5, callers={"user:ada": 5}, uri=uri)
    for source in ("/zeroflow/predictors/default/mallory/p", "/zeroflow/predictors/team/m/p", "/elsewhere"):
        refused = registry.deliver(seen.to_data(), str(uuid.uuid4()), event_type=OBSERVED, source=source)
        assert refused.status == 403
    assert uses(registry, made) == []


@pytest.mark.parametrize("data", [{}, {"namespace": "x"}, [], "text"], ids=json.dumps)
def test_what_is_no_observation_is_refused(registry: Any, data: Any) -> None:
    assert registry.deliver(data, str(uuid.uuid4()), event_type=OBSERVED).status == 400
    assert registry.deliver(data, str(uuid.uuid4()), event_type="dev.zeroflow.drift.detected").status == 400
