"""The store itself: what writes do, what readers and subscribers see, what survives."""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from zeroflow.knative.local.api import crds
from zeroflow.knative.local.api.deletions import DeleteOptions
from zeroflow.knative.local.api.errors import (
    AlreadyExists,
    Conflict,
    Expired,
    Forbidden,
    Invalid,
    NewerSchema,
    NotFound,
    StorageFailed,
)
from zeroflow.knative.local.api.store import Store

WIDGETS = "Widget.example.com"


def config_map(name: str, namespace: str = "default", **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace} | fields.pop("metadata", {})
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **fields}


def definition() -> dict[str, Any]:
    names = {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]}
    versions = [
        {"name": "v1", "served": True, "storage": True, "subresources": {"status": {}}},
        {"name": "v1beta1", "served": True, "storage": False, "subresources": {"status": {}}},
    ]
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    metadata = {"name": "widgets.example.com"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": metadata,
        "spec": spec,
    }


def widget(name: str, spec: dict[str, Any] | None = None, version: str = "v1", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": f"example.com/{version}",
        "kind": "Widget",
        "metadata": {"name": name, "namespace": "default"} | metadata,
        "spec": spec or {},
    }


def owned_by(owner: dict[str, Any]) -> list[dict[str, Any]]:
    metadata = owner["metadata"]
    return [
        {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": metadata["name"], "uid": metadata["uid"]}
    ]


def with_store(test: Callable[[Store], Awaitable[None]], path: Path | None = None) -> None:
    async def main() -> None:
        store = Store(path)
        try:
            await store.apply(definition())
            await test(store)
        finally:
            await store.close()

    asyncio.run(main())


def test_create_sets_what_the_server_decides() -> None:
    async def check(store: Store) -> None:
        made = await store.create(widget("a", {"x": 1}, uid="mine", generation=7))
        metadata = made["metadata"]
        assert metadata["generation"] == 1
        assert metadata["uid"] != "mine"
        assert metadata["creationTimestamp"].endswith("Z")
        assert int(metadata["resourceVersion"]) == store.version
        with pytest.raises(AlreadyExists, match=r'widgets.example.com "a" already exists'):
            await store.create(widget("a"))
        named = await store.create({**widget(""), "metadata": {"generateName": "made-"}})
        assert named["metadata"]["name"].startswith("made-")
        assert len(named["metadata"]["name"]) == len("made-") + 5

    with_store(check)


def test_readers_get_copies() -> None:
    async def check(store: Store) -> None:
        await store.create(widget("a", {"x": [1]}))
        store.get(WIDGETS, "default", "a")["spec"]["x"].append(2)
        store.list(WIDGETS)[0]["spec"]["x"].append(3)
        assert store.get(WIDGETS, "default", "a")["spec"] == {"x": [1]}

    with_store(check)


def test_generation_counts_changes_of_the_spec_only() -> None:
    async def check(store: Store) -> None:
        made = await store.create(widget("a", {"x": 1}))
        made["metadata"]["labels"] = {"l": "1"}
        labelled = await store.update(made)
        assert labelled["metadata"]["generation"] == 1
        labelled["status"] = {"ready": True}
        with_status = await store.update_status(labelled)
        assert with_status["metadata"]["generation"] == 1
        with_status["spec"] = {"x": 2}
        with_status["status"] = {"ready": "an update does not write status"}
        changed = await store.update(with_status)
        assert changed["metadata"]["generation"] == 2
        assert changed["status"] == {"ready": True}

    with_store(check)


def test_update_status_takes_status_alone_and_is_silent_when_nothing_changes() -> None:
    async def check(store: Store) -> None:
        made = await store.create(widget("a", {"x": 1}))
        made["status"], made["spec"] = {"n": 1}, {"x": 99}
        first = await store.update_status(made)
        assert first["spec"] == {"x": 1}
        version = store.version
        async with store.subscribe([WIDGETS], replay=False) as changes:
            assert await store.update_status(first) == first
            assert store.version == version
            assert changes.pending == 0

    with_store(check)


def test_a_stale_update_conflicts_and_one_without_version_does_not() -> None:
    async def check(store: Store) -> None:
        stale = await store.create(widget("a", {"x": 1}))
        await store.update({**stale, "spec": {"x": 2}})
        with pytest.raises(Conflict, match="the object has been modified"):
            await store.update({**stale, "spec": {"x": 3}})
        assert (await store.update(widget("a", {"x": 4})))["spec"] == {"x": 4}

    with_store(check)


def test_concurrent_writers_of_one_object_are_serialised() -> None:
    async def check(store: Store) -> None:
        made = await store.create(widget("a", {"n": 0}))
        outcomes = await asyncio.gather(
            *(store.update({**made, "spec": {"n": number}}) for number in range(1, 21)), return_exceptions=True
        )
        winners = [outcome for outcome in outcomes if isinstance(outcome, dict)]
        assert len(winners) == 1
        assert all(isinstance(outcome, Conflict) for outcome in outcomes if outcome not in winners)

    with_store(check)


def test_namespaces_must_exist_and_take_their_contents_along() -> None:
    async def check(store: Store) -> None:
        with pytest.raises(NotFound, match='namespaces "team" not found'):
            await store.create(config_map("a", "team"))
        await store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
        assert store.get("ServiceAccount", "team", "default")
        await store.create(config_map("a", "team"))
        await store.create(widget("held", namespace="team", finalizers=["example.com/hold"]))
        await store.delete("Namespace", None, "team")
        assert store.get("Namespace", None, "team")["status"] == {"phase": "Terminating"}
        assert store.find("ConfigMap", "team", "a") is None
        with pytest.raises(Forbidden, match="being terminated"):
            await store.create(config_map("late", "team"))
        held = store.get(WIDGETS, "team", "held")
        del held["metadata"]["finalizers"]
        await store.update(held)
        assert store.find("Namespace", None, "team") is None

    with_store(check)


@pytest.mark.parametrize("name", ["default", "kube-system", "zeroflow"])
def test_the_first_namespaces_cannot_be_deleted(name: str) -> None:
    async def check(store: Store) -> None:
        with pytest.raises(Forbidden, match="may not be deleted"):
            await store.delete("Namespace", None, name)

    with_store(check)


def test_finalizers_hold_an_object_until_they_are_gone() -> None:
    async def check(store: Store) -> None:
        await store.create(widget("a", finalizers=["example.com/hold"]))
        await store.delete(WIDGETS, "default", "a")
        held = store.get(WIDGETS, "default", "a")
        assert held["metadata"]["deletionTimestamp"]
        held["metadata"]["finalizers"] = []
        await store.update(held)
        assert store.find(WIDGETS, "default", "a") is None

    with_store(check)


def test_dependents_go_with_their_last_owner() -> None:
    async def check(store: Store) -> None:
        one, two = await store.create(widget("one")), await store.create(widget("two"))
        child = await store.create(config_map("child", metadata={"ownerReferences": owned_by(one) + owned_by(two)}))
        await store.create(config_map("grandchild", metadata={"ownerReferences": owned_by(child)}))
        await store.delete(WIDGETS, "default", "one")
        assert [o["name"] for o in store.get("ConfigMap", "default", "child")["metadata"]["ownerReferences"]] == ["two"]
        await store.delete(WIDGETS, "default", "two")
        assert store.list("ConfigMap") == []

    with_store(check)


def test_orphans_stay_and_lose_their_owner() -> None:
    async def check(store: Store) -> None:
        owner = await store.create(widget("one"))
        await store.create(config_map("child", metadata={"ownerReferences": owned_by(owner)}))
        await store.delete(WIDGETS, "default", "one", DeleteOptions("Orphan"))
        assert "ownerReferences" not in store.get("ConfigMap", "default", "child")["metadata"]

    with_store(check)


def test_foreground_deletion_waits_for_dependents() -> None:
    async def check(store: Store) -> None:
        owner = await store.create(widget("one"))
        child = widget("child", finalizers=["example.com/hold"], ownerReferences=owned_by(owner))
        await store.create(child)
        await store.delete(WIDGETS, "default", "one", DeleteOptions("Foreground"))
        assert store.get(WIDGETS, "default", "one")["metadata"]["finalizers"] == ["foregroundDeletion"]
        held = store.get(WIDGETS, "default", "child")
        held["metadata"]["finalizers"] = []
        await store.update(held)
        assert store.list(WIDGETS) == []

    with_store(check)


def test_a_definition_adds_its_kind_in_all_versions_and_takes_its_objects_along() -> None:
    async def check(store: Store) -> None:
        made = await store.create(widget("a", {"x": 1}, version="v1beta1"))
        assert made["apiVersion"] == "example.com/v1"
        assert store.get("CustomResourceDefinition.apiextensions.k8s.io", None, "widgets.example.com")["status"][
            "conditions"
        ]
        await store.delete("CustomResourceDefinition.apiextensions.k8s.io", None, "widgets.example.com")
        assert store.kinds.find(WIDGETS) is None
        assert store.find(WIDGETS, "default", "a") is None
        with pytest.raises(NotFound, match="no matches for kind"):
            await store.create(widget("b"))

    with_store(check)


def test_hooks_default_and_refuse() -> None:
    def hook(new: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        if new["spec"].get("bad"):
            raise Invalid("spec.bad: must not be set")
        new["spec"].setdefault("seen", "new" if old is None else "old")
        return new

    async def check(store: Store) -> None:
        store.admit(WIDGETS, hook)
        assert (await store.create(widget("a")))["spec"] == {"seen": "new"}
        assert (await store.update(widget("a", {"x": 1})))["spec"] == {"x": 1, "seen": "old"}
        with pytest.raises(Invalid, match=r'^Widget.example.com "b" is invalid: spec.bad: must not be set$') as refused:
            await store.create(widget("b", {"bad": True}))
        assert refused.value.causes[0].field == "spec.bad"
        assert store.find(WIDGETS, "default", "b") is None

    with_store(check)


def test_a_subscription_replays_and_then_follows_in_order() -> None:
    async def check(store: Store) -> None:
        await store.create(widget("a"))
        async with store.subscribe([WIDGETS, "ConfigMap"]) as changes:
            await store.create(config_map("c"))
            await store.update(widget("a", {"x": 1}))
            await store.delete(WIDGETS, "default", "a")
            seen = [await anext(changes) for _ in range(4)]
        assert [(c.type, c.object["metadata"]["name"]) for c in seen] == [
            ("ADDED", "a"),
            ("ADDED", "c"),
            ("MODIFIED", "a"),
            ("DELETED", "a"),
        ]
        assert seen[2].old is not None
        assert seen[2].old["spec"] == {}
        assert [c.version for c in seen[1:]] == sorted(c.version for c in seen[1:])

    with_store(check)


def test_a_subscription_resumes_from_a_version_or_says_that_it_is_too_old() -> None:
    async def check(store: Store) -> None:
        await store.create(config_map("first"))
        since = store.version
        await store.create(config_map("second"))
        async with store.subscribe(["ConfigMap"], since=since) as changes:
            assert (await anext(changes)).object["metadata"]["name"] == "second"
        for number in range(1100):
            await store.create({"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"e{number}"}})
        with pytest.raises(Expired, match="too old resource version"):
            store.subscribe(["ConfigMap"], since=since)
        assert len(store.list("Event")) <= 400

    with_store(check)


def test_a_slow_bounded_subscriber_is_told_to_start_again() -> None:
    async def check(store: Store) -> None:
        async with store.subscribe(["ConfigMap"], limit=5) as changes:
            for number in range(10):
                await store.create(config_map(f"c{number}"))
            with pytest.raises(Expired):
                await anext(changes)

    with_store(check)


def test_a_list_made_during_a_write_is_followed_by_that_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(store: Store) -> None:
        may_flush = threading.Event()
        flush = store._flush

        def slow(draft: Any) -> None:
            assert may_flush.wait(10)
            flush(draft)

        monkeypatch.setattr(store, "_flush", slow)
        writing = asyncio.create_task(store.create(config_map("late")))
        while store._state.version == store._state.published:  # until the write has its version
            await asyncio.sleep(0)
        listed, since = store.list("ConfigMap"), store.version
        assert listed == []
        async with store.subscribe(["ConfigMap"], since=since) as changes:
            may_flush.set()
            await writing
            assert (await anext(changes)).object["metadata"]["name"] == "late"
        async with store.subscribe(["ConfigMap"], since=since) as changes:
            assert (await anext(changes)).object["metadata"]["name"] == "late"

    with_store(check)


def test_everything_but_pods_and_events_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "db" / "resources.sqlite"

    async def write(store: Store) -> None:
        await store.create(widget("a", {"x": 1}))
        await store.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}})
        versions.append(store.version)

    async def read(store: Store) -> None:
        assert store.get(WIDGETS, "default", "a")["spec"] == {"x": 1}
        assert store.list("Pod") == []
        assert store.version >= versions[0]
        later = await store.create(widget("b"))
        assert int(later["metadata"]["resourceVersion"]) > versions[0]

    versions: list[int] = []
    with_store(write, path)
    with_store(read, path)
    assert path.stat().st_mode & 0o777 == 0o600


def test_applying_the_same_manifest_again_changes_nothing() -> None:
    async def check(store: Store) -> None:
        manifest = widget("a", {"x": {"y": 1}})
        first = await store.apply(manifest)
        assert await store.apply(manifest) == first
        changed = await store.apply(widget("a", {"x": {"z": 2}}))
        assert changed["spec"] == {"x": {"z": 2}}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "v"}}
        made = await store.apply(secret)
        assert made["data"] == {"k": "dg=="}
        assert "stringData" not in made
        assert await store.apply(secret) == made

    with_store(check)


def test_the_bundled_definitions_name_the_kinds_that_the_host_serves() -> None:
    found = {crds.kind_of(definition).key for definition in crds.bundled()}
    assert found >= {
        *(f"{kind}.serving.knative.dev" for kind in ("Service", "Configuration", "Revision", "Route", "DomainMapping")),
        *(f"{kind}.eventing.knative.dev" for kind in ("Broker", "Trigger")),
        *(f"{kind}.sources.knative.dev" for kind in ("PingSource", "ApiServerSource", "SinkBinding")),
        "JobSink.sinks.knative.dev",
        "InferenceService.serving.kserve.io",
        *(f"{kind}.kubeflow.org" for kind in ("Experiment", "Suggestion", "Trial")),
    }


def test_a_newer_schema_is_refused_in_one_line_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "resources.sqlite"
    with_store(_nothing, path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    with pytest.raises(NewerSchema, match=r"has resource schema 99; this Zeroflow knows 2") as refused:
        Store(path)
    assert "\n" not in str(refused.value)
    assert path.read_bytes() == before


def test_a_write_that_cannot_reach_the_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "resources.sqlite"

    async def check(store: Store) -> None:
        await store.create(widget("a", {"x": 1}))
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")  # the file is taken: SQLite gives up after its timeout
        store._file._db.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StorageFailed, match="could not be written"):
            await store.update(widget("a", {"x": 2}))
        assert store.get(WIDGETS, "default", "a")["spec"] == {"x": 1}
        other.execute("ROLLBACK")
        other.close()
        assert (await store.update(widget("a", {"x": 3})))["spec"] == {"x": 3}

    with_store(check, path)


async def _nothing(store: Store) -> None:
    pass


def test_nothing_is_made_for_a_controller_that_is_gone(tmp_path: Path) -> None:
    """Who makes parts of an object is overtaken by its deletion, which has been queued before: no orphan stays."""

    async def main() -> None:
        store = Store(tmp_path / "db.sqlite")
        owner = await store.create(config_map("owner"))
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        part = config_map("part", metadata={"ownerReferences": [{**reference, "controller": True}]})
        other = config_map("other", metadata={"ownerReferences": [reference]})
        made = await asyncio.gather(
            store.delete("ConfigMap", "default", "owner"),
            store.create(part),
            store.apply(part),
            store.create(other),
            return_exceptions=True,
        )
        assert [type(each) for each in made] == [dict, NotFound, NotFound, dict]
        assert store.find("ConfigMap", "default", "part") is None
        await store.create(config_map("owner"))
        with pytest.raises(NotFound):
            await store.create(part)  # another of the same name
        await store.close()

    asyncio.run(main())
