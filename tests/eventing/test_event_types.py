"""EventTypes: either form is accepted and shown, none is changed, and each tells whether its reference is there."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from eventing.rooms import Room, broker_ref
from zeroflow.knative.local.api.errors import BadRequest

Run = Callable[..., None]
OLD, NEW = "eventing.knative.dev/v1beta2", "eventing.knative.dev/v1beta3"
METADATA = {"name": "made", "namespace": "default"}
KIND = "EventType.eventing.knative.dev"
ATTRIBUTES = [
    {"name": "type", "required": True, "value": "com.example.made"},
    {"name": "source", "required": True, "value": "/shops/{shop}"},
    {"name": "specversion", "required": True, "value": "1.0"},
    {"name": "id", "required": True, "value": "{id}"},
]


def test_an_event_type_is_ready_when_its_reference_is_there(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        spec = {"type": "com.example.made", "broker": "default"}
        await room.store.create({"apiVersion": OLD, "kind": "EventType", "metadata": METADATA, "spec": spec})
        made = await room.condition(KIND, "made", "ReferenceExists", "False")
        assert made["spec"]["reference"] == broker_ref() | {"namespace": "default"}
        assert {each["name"] for each in made["spec"]["attributes"]} == {"type", "source", "specversion", "id"}
        (ready, exists) = made["status"]["conditions"]
        assert (exists["type"], exists["reason"]) == ("ReferenceExists", "ResourceDoesNotExist")
        assert ready["status"] == "False"
        await room.broker()
        await room.ready(KIND, "made")
        free = await room.declare(NEW, "EventType", "free", attributes=ATTRIBUTES)
        assert free["status"]["conditions"][1]["reason"] == "ReferenceNotSet"
        assert (free["spec"]["type"], free["spec"]["source"]) == ("com.example.made", "/shops/{shop}")

    run_room(scenario)


def test_an_event_type_says_what_is_missing_and_never_changes(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises(BadRequest, match=r"missing field\(s\): spec.attributes.id, spec.attributes.source"):
            await room.declare(NEW, "EventType", "few", attributes=[ATTRIBUTES[0], ATTRIBUTES[2]])
        with pytest.raises(BadRequest, match=r"missing field\(s\): spec.attributes.type, spec.type"):
            await room.declare(OLD, "EventType", "none", description="nothing")
        with pytest.raises(BadRequest, match=r"invalid value: not a source: spec.source"):
            await room.declare(OLD, "EventType", "bad", type="a", source="not a source")
        made = await room.declare(OLD, "EventType", "made", type="a")
        await room.store.apply({**made, "metadata": {"name": "made", "namespace": "default", "labels": {"a": "b"}}})
        made = {**made, "metadata": METADATA, "spec": {**made["spec"], "type": "b"}}
        with pytest.raises(BadRequest, match="Immutable fields changed"):
            await room.store.update(made)

    run_room(scenario)
