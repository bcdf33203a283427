"""ApiServerSources: changes of declared resources become events.

Guarantees: the objects that exist when a source starts are not reported, later changes are, each in one transaction
with the source's memory of the object. Unlike a cluster's source, nothing is lost over a restart: what was committed
to the resource API but had not yet become an event when the host died is found by comparing this memory with the
objects and reported then. Changes that followed each other within that gap are reported as one, and a deletion with
the last state that was seen.
Kinds that live in memory only (Pod, Event) are gone after a restart; that is reported as their deletion, which it
was.
Source: Knative's ApiServerSource adapter (types, extensions, subject, data of both modes).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from typing import Any

import orjson

from zeroflow.knative.local.api.objects import Object, labels
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Following
from zeroflow.knative.local.eventing import changes, destinations, label_selector, overrides
from zeroflow.knative.local.eventing.apiserver_spec import concerns, controller_of, kind_key
from zeroflow.knative.local.eventing.cloudevent import JSON_MEDIA, Attribute, DataForm, Event, timestamp
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import Reference
from zeroflow.knative.local.eventing.log import EventLog
from zeroflow.knative.local.eventing.sinks import Sinks
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.eventing.triggers import OIDC_OFF
from zeroflow.knative.local.urls import Urls

logger = logging.getLogger(__name__)

APISERVER_SOURCE = "ApiServerSource.sources.knative.dev"
RETRY_S = 1.0


class ApiServerSources:
    """Reconciles ApiServerSources: one watch each."""

    def __init__(self, store: Store, log: EventLog, sinks: Sinks, status: StatusWriter, urls: Urls) -> None:
        self._store, self._log, self._sinks, self._status, self._urls = store, log, sinks, status, urls
        self._watches: dict[str, _Watch] = {}

    async def changed(self, source: Object) -> None:
        """Watch what the source names now and write its status."""
        metadata, spec = source["metadata"], source["spec"]
        conditions = Conditions(("SinkProvided", "Deployed", "SufficientPermissions", "OIDCIdentityCreated"))
        sink = self._sinks.provide(source, conditions)
        conditions.true("SufficientPermissions")
        conditions.true("OIDCIdentityCreated", OIDC_OFF)
        kinds = [kind_key(resource) for resource in spec["resources"]]
        unknown = sorted(kind for kind in kinds if self._store.kinds.find(kind) is None)
        if unknown:
            message = f"the resource API has no kind {', '.join(unknown)}"
            conditions.false("Deployed", "UnknownResource", message)
        else:
            conditions.true("Deployed")
        watch = self._watches.get(metadata["uid"])
        if watch is not None and watch.generation != metadata["generation"]:
            await watch.close()
            watch = None
        if watch is None and conditions.ready:
            watch = _Watch(source, self._store, self._log, self._sinks, self._urls)
            self._watches[metadata["uid"]] = watch
            await watch.start()
        address = self._urls.base
        fields = {
            "sinkUri": sink.uri if sink else None,
            "namespaces": _status_namespaces(self._store, source),
            "ceAttributes": [{"type": each, "source": address} for each in event_types(spec["mode"])],
        }
        await self._status.write(conditions.written(source, fields))

    async def deleted(self, source: Object) -> None:
        """Watch no more and forget what was seen."""
        uid = source["metadata"]["uid"]
        watch = self._watches.pop(uid, None)
        if watch is not None:
            await watch.close()
        await self._sinks.remove(source)
        await self._log.write(lambda connection: _forget(connection, uid))

    def references(self, source: Object) -> set[Reference]:
        """Return the sink."""
        return destinations.references(source["metadata"]["namespace"], source["spec"].get("sink"))

    async def close(self) -> None:
        """End all watches."""
        for watch in self._watches.values():
            await watch.close()


class _Watch:
    """One source at one generation."""

    def __init__(self, source: Object, store: Store, log: EventLog, sinks: Sinks, urls: Urls) -> None:
        self._source, self._store, self._log, self._sinks, self._urls = source, store, log, sinks, urls
        self._uid: str = source["metadata"]["uid"]
        self._kinds = sorted({kind_key(resource) for resource in source["spec"]["resources"]})
        self._seen: dict[str, str] = {}
        self._declared: dict[str, str] = {}  # of what was reported since the start
        self._following: Following | None = None

    @property
    def generation(self) -> int:
        return int(self._source["metadata"]["generation"])

    async def start(self) -> None:
        """Listen, then compare what exists with what was seen before (or remember it as seen)."""
        self._following = Following(self._store.subscribe(self._kinds, replay=False, copies=False), self._heed)
        present = {
            obj["metadata"]["uid"]: obj for kind in self._kinds for obj in self._store.list(kind) if self._wants(obj)
        }
        known = await self._log.read(self._recall)
        if known is None:
            await self._log.write(lambda connection: self._remember_all(connection, present))
            self._seen = {uid: obj["metadata"]["resourceVersion"] for uid, obj in present.items()}
        else:
            self._seen = {uid: version for uid, (version, _) in known.items()}
            for uid, (_, document) in known.items():
                if uid not in present:
                    await self._report("delete", document)
            for uid, obj in present.items():
                if self._seen.get(uid) != obj["metadata"]["resourceVersion"]:
                    await self._report("update" if uid in self._seen else "add", obj)
        self._following.go()

    async def close(self) -> None:
        """Stop listening; a report that is being written is finished or left to the next start."""
        if self._following is not None:
            await self._following.close()

    async def _heed(self, change: Change) -> None:
        obj = change.object
        known = self._seen.get(obj["metadata"]["uid"])
        if known is not None and int(obj["metadata"]["resourceVersion"]) <= int(known) and change.type != "DELETED":
            return  # seen by the comparison at the start
        gone = change.type == "DELETED" or not self._wants(obj)
        if gone and known is None:
            return
        operation = "delete" if gone else "add" if known is None else "update"
        while not await self._reported(operation, obj):
            await asyncio.sleep(RETRY_S)

    async def _reported(self, operation: str, obj: Object) -> bool:
        try:
            await self._report(operation, obj)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("change not reported yet, trying again: source=%s", self._source["metadata"]["name"])
            return False
        return True

    async def _report(self, operation: str, obj: Object) -> None:
        uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        event = change_event(self._source, operation, obj, self._urls.base, self._plural(obj))
        event = event.extended({**changes.extensions(operation, obj, self._declared.get(uid))})
        if operation == "delete":
            await self._sinks.send(self._source, event, lambda connection: self._forget_one(connection, uid))
            self._seen.pop(uid, None)
            self._declared.pop(uid, None)
        else:
            await self._sinks.send(self._source, event, lambda connection: self._remember(connection, obj))
            self._seen[uid], self._declared[uid] = version, changes.declared(obj)

    def _wants(self, obj: Object) -> bool:
        group = str(obj["apiVersion"]).rpartition("/")[0]
        kind = f"{obj['kind']}.{group}" if group else str(obj["kind"])
        return concerns(self._source["spec"], obj, kind) and _in_namespaces(self._store, self._source, obj)

    def _plural(self, obj: Object) -> str:
        return self._store.kinds.of(obj["apiVersion"], obj["kind"]).plural

    def _recall(self, connection: sqlite3.Connection) -> dict[str, tuple[str, Object]] | None:
        row = connection.execute("SELECT generation FROM watching WHERE source = ?", (self._uid,)).fetchone()
        if row is None or row[0] != self.generation:
            return None
        rows = connection.execute("SELECT object, resource_version, document FROM seen WHERE source = ?", (self._uid,))
        return {row[0]: (row[1], orjson.loads(row[2])) for row in rows}

    def _remember_all(self, connection: sqlite3.Connection, present: dict[str, Object]) -> None:
        _forget(connection, self._uid)
        connection.execute("INSERT INTO watching (source, generation) VALUES (?, ?)", (self._uid, self.generation))
        for obj in present.values():
            self._remember(connection, obj)

    def _remember(self, connection: sqlite3.Connection, obj: Object) -> None:
        metadata = obj["metadata"]
        document = obj if self._source["spec"]["mode"] == "Resource" else _reduced(obj)
        connection.execute(
            "INSERT OR REPLACE INTO seen (source, object, resource_version, document) VALUES (?, ?, ?, ?)",
            (self._uid, metadata["uid"], metadata["resourceVersion"], orjson.dumps(document).decode()),
        )

    def _forget_one(self, connection: sqlite3.Connection, uid: str) -> None:
        connection.execute("DELETE FROM seen WHERE source = ? AND object = ?", (self._uid, uid))


def change_event(source: Object, operation: str, obj: Object, address: str, plural: str) -> Event:
    """Build the event of a change: add, update or delete."""
    metadata, spec = obj["metadata"], source["spec"]
    namespace, version = metadata.get("namespace", ""), obj["apiVersion"]
    whole = spec["mode"] == "Resource"
    scope = f"namespaces/{namespace}/" if namespace else ""
    identity = f"{metadata['uid']}/{metadata['resourceVersion']}/{operation}"
    attributes: dict[str, Attribute] = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.UUID(source["metadata"]["uid"]), identity)),
        "source": address,
        "type": f"dev.knative.apiserver.{'resource' if whole else 'ref'}.{operation}",
        "subject": f"/apis/{version}/{scope}{plural}/{metadata['name']}",
        "time": timestamp(),
        "datacontenttype": JSON_MEDIA,
        "kind": obj["kind"],
        "apiversion": version,
        "name": metadata["name"],
        **({"namespace": namespace} if namespace else {}),
        **overrides.extensions(spec),
    }
    data = obj if whole else _reference(obj, by_owner=spec.get("owner") is not None)
    return Event(attributes, orjson.dumps(data), form=DataForm.JSON)


def event_types(mode: str) -> list[str]:
    """Return the types that a source of this mode sends."""
    middle = "resource" if mode == "Resource" else "ref"
    return [f"dev.knative.apiserver.{middle}.{operation}" for operation in ("add", "delete", "update")]


def _reference(obj: Object, *, by_owner: bool) -> dict[str, Any]:
    controller = controller_of(obj) if by_owner else None
    named = controller or {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "name": obj["metadata"]["name"]}
    reference = {field: named[field] for field in ("apiVersion", "kind", "name")}
    namespace = obj["metadata"].get("namespace")
    return {**reference, **({"namespace": namespace} if namespace else {})}


def _reduced(obj: Object) -> Object:
    """Keep what a later deletion is reported with in mode Reference."""
    kept = ("name", "namespace", "uid", "resourceVersion", "ownerReferences")
    metadata = {name: obj["metadata"][name] for name in kept if name in obj["metadata"]}
    return {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}


def _in_namespaces(store: Store, source: Object, obj: Object) -> bool:
    namespace, selector = obj["metadata"].get("namespace"), source["spec"].get("namespaceSelector")
    if namespace is None:
        return True
    if selector is None:
        return bool(namespace == source["metadata"]["namespace"])
    found = store.find("Namespace", None, namespace)
    return label_selector.matches(selector, labels(found) if found else {})


def _status_namespaces(store: Store, source: Object) -> list[str]:
    selector = source["spec"].get("namespaceSelector")
    if selector is None:
        return [source["metadata"]["namespace"]]
    if not selector:
        return [""]  # every namespace, as Knative writes it
    return [
        each["metadata"]["name"] for each in store.list("Namespace") if label_selector.matches(selector, labels(each))
    ]


def _forget(connection: sqlite3.Connection, uid: str) -> None:
    connection.execute("DELETE FROM seen WHERE source = ?", (uid,))
    connection.execute("DELETE FROM watching WHERE source = ?", (uid,))
