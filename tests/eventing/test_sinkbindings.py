"""What a SinkBinding is about learns from its environment where its events go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from eventing.rooms import Room, broker_ref
from zeroflow.knative.local.api.errors import BadRequest

Run = Callable[..., None]
JOB_SUBJECT = {"apiVersion": "batch/v1", "kind": "Job"}
SERVICE_SUBJECT = {"apiVersion": "serving.knative.dev/v1", "kind": "Service"}


def binding(subject: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "SinkBinding",
        "metadata": {"name": "bound", "namespace": "default"},
        "spec": {"subject": subject, "sink": {"ref": broker_ref()}} | spec,
    }


def job(name: str, **labels: str) -> dict[str, Any]:
    container = {"name": "main", "image": "x", "command": ["true"], "env": [{"name": "MINE", "value": "1"}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }


def env(obj: dict[str, Any]) -> dict[str, str]:
    container = obj["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable["value"] for variable in container.get("env") or ()}


def test_a_job_that_is_created_after_its_binding_knows_its_sink(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        early = await room.store.create(job("early", team="a"))
        given = {"extensions": {"origin": "here"}}
        selector = {"matchLabels": {"team": "a"}}
        await room.store.create(binding({**JOB_SUBJECT, "selector": selector}, ceOverrides=given))
        made = await room.ready("SinkBinding.sources.knative.dev", "bound")
        url = f"{room.base}/eventing/default/default".replace("127.0.0.1", "localhost")
        assert made["status"]["sinkUri"] == url
        bound = await room.store.create(job("late", team="a"))
        assert env(bound) == {"MINE": "1", "K_SINK": url, "K_CE_OVERRIDES": '{"extensions":{"origin":"here"}}'}
        assert env(await room.store.create(job("other", team="b"))) == {"MINE": "1"}
        assert env(room.store.get("Job.batch", "default", early["metadata"]["name"])) == {"MINE": "1"}

    run_room(scenario)


def test_a_service_is_bound_while_the_binding_exists(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.service("one")
        await room.store.create(binding({**SERVICE_SUBJECT, "name": "one"}))
        await room.ready("SinkBinding.sources.knative.dev", "bound")

        def service() -> dict[str, Any]:
            return room.store.get("Service.serving.knative.dev", "default", "one")

        assert env(service())["K_SINK"].endswith("/eventing/default/default")
        assert env(service())["K_CE_OVERRIDES"] == ""
        generation = service()["metadata"]["generation"]
        await room.store.apply(service())
        assert service()["metadata"]["generation"] == generation
        await room.store.delete("SinkBinding.sources.knative.dev", "default", "bound")
        async with asyncio.timeout(10):
            while "K_SINK" in env(service()):
                await asyncio.sleep(0.01)

    run_room(scenario)


def test_a_sink_that_does_not_exist_binds_nothing_until_it_does(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("one")
        await room.store.create(binding({**SERVICE_SUBJECT, "name": "one"}))
        await room.condition("SinkBinding.sources.knative.dev", "bound", "SinkProvided", "False")
        assert env(await room.store.create(job("j"))) == {"MINE": "1"}
        await room.broker()
        await room.ready("SinkBinding.sources.knative.dev", "bound")
        assert "K_SINK" in env(room.store.get("Service.serving.knative.dev", "default", "one"))

    run_room(scenario)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"subject": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}, "spec.subject.kind"),
        ({"subject": JOB_SUBJECT}, "spec.subject"),
        ({"subject": {**JOB_SUBJECT, "name": "x", "namespace": "other"}}, "spec.subject.namespace"),
        ({"subject": {**JOB_SUBJECT, "name": "x"}, "sink": {}}, "spec.sink"),
    ],
    ids=str,
)
def test_a_binding_that_cannot_work_is_refused(run_room: Run, spec: dict[str, Any], field: str) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises(BadRequest) as refused:
            await room.store.create(binding(JOB_SUBJECT) | {"spec": binding(JOB_SUBJECT)["spec"] | spec})
        assert f": {field}" in str(refused.value)

    run_room(scenario)
