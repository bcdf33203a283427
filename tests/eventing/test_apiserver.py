"""ApiServerSources: which changes become which events, also over a restart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eventing.rooms import Received, Room, broker_ref, open_store, room, service_ref
from zeroflow.knative.local.api.errors import BadRequest, Invalid

Run = Callable[..., None]
SOURCE = "ApiServerSource.sources.knative.dev"


def source(name: str = "s", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "sources.knative.dev/v1",
        "kind": "ApiServerSource",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"sink": {"ref": broker_ref()}, "resources": [{"apiVersion": "v1", "kind": "ConfigMap"}], **spec},
    }


def config_map(name: str, namespace: str = "default", labels: Any = None, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **({"labels": labels} if labels else {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


async def watching(room: Room, **spec: Any) -> None:
    if not room.store.list("Broker.eventing.knative.dev"):
        await room.broker()
        await room.trigger("t", "one")
    await room.store.create(source(**spec))
    await room.ready(SOURCE, "s")


def what(got: Received) -> tuple[str, str]:
    return got.headers["ce-type"].rsplit(".", 1)[1], got.headers["ce-name"]


def test_changes_of_a_resource_become_events_with_the_object(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.store.create(config_map("before"))
        await watching(room, mode="Resource")
        made = await room.store.create(config_map("a", key="1"))
        made["data"]["key"] = "2"
        await room.store.update(made)
        await room.store.delete("ConfigMap", "default", "a")
        got = sorted(await room.receiver.count("one", 3), key=lambda each: each.headers["ce-time"])
        assert [each.headers["ce-type"] for each in got] == [
            f"dev.knative.apiserver.resource.{operation}" for operation in ("add", "update", "delete")
        ]
        assert [json.loads(each.body)["data"]["key"] for each in got] == ["1", "2", "2"]
        head = got[0].headers
        assert head["ce-subject"] == "/apis/v1/namespaces/default/configmaps/a"
        assert head["ce-source"] == room.base.replace("127.0.0.1", "localhost")
        assert (head["ce-kind"], head["ce-apiversion"], head["ce-name"], head["ce-namespace"]) == (
            "ConfigMap",
            "v1",
            "a",
            "default",
        )

    run_room(scenario)


def test_reference_mode_sends_the_reference_alone(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        resources = [{"apiVersion": "serving.knative.dev/v1", "kind": "Service"}]
        await watching(room, resources=resources, ceOverrides={"extensions": {"team": "ml"}})
        await room.service("web")
        (got,) = await room.receiver.count("one", 1)
        assert got.headers["ce-type"] == "dev.knative.apiserver.ref.add"
        assert got.headers["ce-subject"] == "/apis/serving.knative.dev/v1/namespaces/default/services/web"
        assert got.headers["ce-team"] == "ml"
        assert json.loads(got.body) == {
            "apiVersion": "serving.knative.dev/v1",
            "kind": "Service",
            "name": "web",
            "namespace": "default",
        }
        status = room.store.get(SOURCE, "default", "s")["status"]
        assert {each["type"] for each in status["ceAttributes"]} == {
            f"dev.knative.apiserver.ref.{operation}" for operation in ("add", "update", "delete")
        }

    run_room(scenario)


def test_selectors_decide_and_leaving_one_is_a_deletion(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        expression = {"key": "tier", "operator": "In", "values": ["gold"]}
        selected = {"apiVersion": "v1", "kind": "ConfigMap", "selector": {"matchExpressions": [expression]}}
        await watching(room, resources=[selected])
        await room.store.create(config_map("plain"))
        made = await room.store.create(config_map("a", labels={"tier": "gold"}))
        made["metadata"]["labels"]["tier"] = "tin"
        made = await room.store.update(made)
        made["metadata"]["labels"]["tier"] = "gold"
        await room.store.update(made)
        got = sorted(await room.receiver.count("one", 3), key=lambda each: each.headers["ce-time"])
        assert [what(each) for each in got] == [("add", "a"), ("delete", "a"), ("add", "a")]

    run_room(scenario)


def test_namespaces_and_owners_decide(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        owner = {"apiVersion": "v1", "kind": "Secret"}
        selector = {"matchLabels": {"kubernetes.io/metadata.name": "zeroflow"}}
        await watching(room, owner=owner, namespaceSelector=selector)
        for namespace in ("default", "zeroflow"):
            secret = await room.store.create(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "o", "namespace": namespace}}
            )
            reference = {**owner, "name": "o", "uid": secret["metadata"]["uid"], "controller": True}
            owned = config_map("owned", namespace)
            owned["metadata"]["ownerReferences"] = [reference]
            await room.store.create(config_map("alone", namespace))
            await room.store.create(owned)
        (got,) = await room.receiver.count("one", 1)
        assert json.loads(got.body) == {**owner, "name": "o", "namespace": "zeroflow"}

    async def labelled(room: Room) -> None:
        namespace = room.store.get("Namespace", None, "zeroflow")
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = "zeroflow"
        await room.store.update(namespace)
        await scenario(room)

    run_room(labelled)


def test_every_namespace_is_watched_with_an_empty_selector(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await watching(room, namespaceSelector={})
        await room.store.create(config_map("a", "default"))
        await room.store.create(config_map("b", "zeroflow"))
        assert {got.headers["ce-name"] for got in await room.receiver.count("one", 2)} == {"a", "b"}

    run_room(scenario)


def test_what_changed_unseen_is_reported_after_a_restart(tmp_path: Path) -> None:
    """The resource API commits, the host dies before the event is in the log: the next start finds out."""

    async def main() -> None:
        async with room(tmp_path) as first:
            await watching(first, mode="Resource")
            for name in ("kept", "changed", "removed"):
                await first.store.create(config_map(name, key="1"))
            await first.receiver.count("one", 3)
        store = await open_store(first.home)
        await store.create(config_map("new"))
        changed = store.get("ConfigMap", "default", "changed")
        changed["data"]["key"] = "2"
        await store.update(changed)
        await store.delete("ConfigMap", "default", "removed")
        await store.close()
        async with room(tmp_path) as second:
            got = await second.receiver.count("one", 3)
            assert {what(each) for each in got} == {("add", "new"), ("update", "changed"), ("delete", "removed")}
            bodies = {each.headers["ce-name"]: json.loads(each.body).get("data") for each in got}
            assert bodies == {"new": {}, "changed": {"key": "2"}, "removed": {"key": "1"}}
        async with room(tmp_path) as third:
            await third.store.create(config_map("last"))
            await third.receiver.count("one", 1)
            assert [what(each) for each in third.receiver.received] == [("add", "last")]

    asyncio.run(main())


def test_an_unknown_kind_is_not_ready_until_its_definition_comes(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.broker()
        await room.trigger("t", "one")
        await room.store.create(source(resources=[{"apiVersion": "example.com/v1", "kind": "Widget"}]))
        found = await room.condition(SOURCE, "s", "Deployed", "False")
        assert "Widget.example.com" in str(found["status"])
        schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
        version = {"name": "v1", "served": True, "storage": True, "schema": schema}
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
        await room.store.create(
            {
                "apiVersion": "apiextensions.k8s.io/v1",
                "kind": "CustomResourceDefinition",
                "metadata": {"name": "widgets.example.com"},
                "spec": {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]},
            }
        )
        await room.ready(SOURCE, "s")
        await room.store.create(
            {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": "default"}}
        )
        assert [what(got) for got in await room.receiver.count("one", 1)] == [("add", "w")]

    run_room(scenario)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"resources": []}, "spec.resources"),
        ({"resources": [{"kind": "Pod"}]}, "spec.resources[0].apiVersion"),
        ({"resources": [{"apiVersion": "a/b/c", "kind": "Pod"}]}, "spec.resources[0].apiVersion"),
        ({"mode": "Everything"}, "spec.mode"),
        ({"owner": {"kind": "Job"}}, "spec.owner"),
        ({"sink": {"ref": {"kind": "Service"}}}, "spec.sink.ref"),
        ({"filters": [{"exact": {"type": "x"}}]}, "spec.filters"),
        ({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Is"}]}}, "spec.namespaceSelector"),
    ],
    ids=str,
)
def test_a_source_that_cannot_work_is_refused(run_room: Run, spec: dict[str, Any], said: str) -> None:
    async def scenario(room: Room) -> None:
        with pytest.raises((BadRequest, Invalid)) as refused:  # by Knative's webhook, or by the CRD's schema
            await room.store.create(source(**spec))
        assert said in str(refused.value)

    run_room(scenario)


def test_a_sink_may_be_a_service(run_room: Run) -> None:
    async def scenario(room: Room) -> None:
        await room.service("direct")
        await room.store.create(source(sink={"ref": service_ref("direct")}))
        await room.ready(SOURCE, "s")
        await room.store.create(config_map("a"))
        assert [what(got) for got in await room.receiver.count("direct", 1)] == [("add", "a")]

    run_room(scenario)
