"""From a Service to what it makes: Configuration, Revisions, Route, their statuses and the entry in the route table.

`reconcile` is level-triggered and idempotent: it reads what is stored and what the pools know, writes what differs,
and can be run again at any time. A revision becomes the latest ready one when one of its instances has been ready;
until then, and when it fails, the Service keeps its routes.
Source: knative.dev/serving pkg/reconciler/{service,configuration,revision,route}.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import copy, now
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.serving import conditions, garbage, labels, objects, rollout, statuses
from zeroflow.knative.local.serving.conditions import Condition
from zeroflow.knative.local.serving.garbage import Retention
from zeroflow.knative.local.serving.pool import Pool
from zeroflow.knative.local.serving.routes import Entry, RouteTable, Target
from zeroflow.knative.local.serving.statuses import Seen
from zeroflow.knative.local.urls import Urls

Object = dict[str, Any]
PoolOf = Callable[[Object], Pool]
Later = Callable[[float, str, str], None]
"""Asks for another reconciliation: (in so many seconds, namespace, Service)."""
_READY_NEWS = {"Revision": "Revision becomes ready upon all resources being ready"}


class Reconciler:
    """Make the store and the route table agree with the Services."""

    def __init__(
        self,
        store: Store,
        urls: Urls,
        routes: RouteTable,
        pool_of: PoolOf,
        later: Later,
        recorder: Recorder,
        retention: Retention,
    ) -> None:
        self._store, self._urls, self._routes, self._pool_of = store, urls, routes, pool_of
        self._later, self._recorder, self._retention = later, recorder, retention

    async def service(self, namespace: str, service_name: str) -> None:
        """Bring one Service's objects up to date."""
        service = self._store.find(labels.SERVICE_KIND, namespace, service_name)
        if service is None or service["metadata"].get("deletionTimestamp"):
            self._routes.remove(namespace, service_name)
            return
        config = await self._ensure(labels.CONFIGURATION_KIND, objects.configuration(service))
        newest, taken = await self._newest(service, config)
        revisions = self._revisions(namespace, service_name)
        pools = {str(revision["metadata"]["name"]): self._pool_of(revision) for revision in revisions}
        for name, pool in pools.items():
            if name == newest["metadata"]["name"] and not taken:
                pool.deploy()
            else:
                pool.retire()
        seen = {name: statuses.look(pool) for name, pool in pools.items()}
        for revision in revisions:
            await self._write_revision(revision, seen[revision["metadata"]["name"]])
        await self._write_configuration(config, newest, seen)
        route = await self._ensure(labels.ROUTE_KIND, objects.route(service))
        route = await self._roll_out(route, service, config, seen)
        await self._write_route(route, config, seen)
        await self._mark_routed(revisions, route, seen, pools)
        await self._write_service(service, config, route, newest if taken else None)
        await self._collect(config)

    async def mapping(self, namespace: str, name: str) -> None:
        """Bring one DomainMapping up to date."""
        mapping = self._store.find(labels.MAPPING_KIND, namespace, name)
        if mapping is None:
            self._routes.map_host(name, namespace, None)
            return
        target = mapping["spec"]["ref"]["name"]
        self._routes.map_host(name, namespace, target)
        found = self._store.find(labels.SERVICE_KIND, namespace, target)
        resolved = Condition("ReferenceResolved")
        if found is None:
            resolved = conditions.false("ReferenceResolved", "ResolveFailed", f'services "{target}" not found')
        first, _, rest = name.partition(".")
        at_home = rest.startswith(f"{namespace}.")
        url = self._urls.service(namespace, first) if at_home else f"http://{name}:{self._urls.port}"
        mapping.setdefault("status", {}).update(url=url, address={"url": url})
        given = [Condition("DomainClaimed"), resolved, Condition("IngressReady"), statuses.no_certificate()]
        await self._write_status(mapping, given)

    async def _ensure(self, kind: str, wanted: Object) -> Object:
        meta = wanted["metadata"]
        found = self._store.find(kind, meta["namespace"], meta["name"])
        if found is None:
            made = await self._store.create(wanted)
            owner = meta["ownerReferences"][0]
            about = {"kind": owner["kind"], "apiVersion": owner["apiVersion"]}
            about["metadata"] = {"name": owner["name"], "uid": owner["uid"], "namespace": meta["namespace"]}
            self._recorder.note(about, "Created", f'Created {wanted["kind"]} "{meta["name"]}"')
            return made
        if found["spec"] == wanted["spec"]:
            return found
        changed = copy(found) | {"spec": wanted["spec"]}
        return await self._store.update(changed)

    async def _newest(self, service: Object, config: Object) -> tuple[Object, bool]:
        """Return the revision of the present template, made when it is missing, and whether its name is taken."""
        wanted = objects.revision(service, config)
        meta = wanted["metadata"]
        found = self._store.find(labels.REVISION_KIND, meta["namespace"], meta["name"])
        if found is None:
            return await self._store.create(wanted), False
        mine = (found["metadata"].get("labels") or {}).get(labels.CONFIGURATION_UID) == config["metadata"]["uid"]
        return found, not (mine and found["spec"] == wanted["spec"])

    def _revisions(self, namespace: str, service: str) -> list[Object]:
        """Return the revisions of a Service, oldest first."""
        found = self._store.list(labels.REVISION_KIND, namespace, {labels.SERVICE: service})
        return sorted(found, key=lambda revision: int(revision["metadata"]["labels"][labels.CONFIGURATION_GENERATION]))

    async def _write_revision(self, revision: Object, seen: Seen) -> None:
        container = revision["spec"]["containers"][0]
        revision.setdefault("status", {}).update(
            containerStatuses=[{"name": container["name"], "imageDigest": container.get("image", "")}],
            actualReplicas=seen.actual,
            desiredReplicas=seen.desired,
        )
        await self._write_status(revision, list(seen.conditions))

    async def _write_configuration(self, config: Object, newest: Object, seen: dict[str, Seen]) -> None:
        status = config.setdefault("status", {})
        name = newest["metadata"]["name"]
        ready = seen[name].ready if name in seen else conditions.unknown("Ready")
        status["latestCreatedRevisionName"] = name
        if ready.status == "True":
            status["latestReadyRevisionName"] = name
        elif status.get("latestReadyRevisionName") not in seen:
            others = [other for other, look in seen.items() if look.proven]
            status.pop("latestReadyRevisionName", None)
            if others:
                status["latestReadyRevisionName"] = others[-1]
        await self._write_status(config, [], statuses.configuration(name, ready))

    async def _roll_out(self, route: Object, service: Object, config: Object, seen: dict[str, Seen]) -> Object:
        """Begin, go on with, or end the move of traffic to the latest ready revision; it is kept in the Route."""
        latest = config["status"].get("latestReadyRevisionName")
        moving = None
        if latest is not None:
            moving = rollout.begun(route, service, latest, seen, time.time())
        annotations = route["metadata"].setdefault("annotations", {})
        wanted = moving.wire() if moving is not None else None
        if annotations.get(labels.ROLLOUT) != wanted:
            changed = copy(route)
            changed["metadata"]["annotations"].pop(labels.ROLLOUT, None)
            if wanted is not None:
                changed["metadata"]["annotations"][labels.ROLLOUT] = wanted
            route = await self._store.update(changed)
        if moving is not None and (due_s := moving.next_s(time.time())) is not None:
            meta = route["metadata"]
            self._later(due_s - time.time(), meta["namespace"], meta["name"])
        return route

    async def _collect(self, config: Object) -> None:
        """Delete revisions that nobody needs any more."""
        namespace, name = config["metadata"]["namespace"], config["metadata"]["name"]
        revisions = self._revisions(namespace, name)
        latest = config["status"].get("latestReadyRevisionName")
        for gone in garbage.doomed(revisions, latest, self._retention, datetime.now(UTC)):
            with suppress(NotFound):
                await self._store.delete(labels.REVISION_KIND, namespace, gone)

    async def _write_route(self, route: Object, config: Object, seen: dict[str, Seen]) -> None:
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        status = route.setdefault("status", {})
        assigned, traffic = self._assign(route, config, seen)
        if assigned.status == "True":
            status["traffic"] = traffic
        url = self._urls.service(namespace, name)
        status.update(url=url, address={"url": url})
        ingress = Condition("IngressReady") if status.get("traffic") else conditions.unknown("IngressReady")
        await self._write_status(route, [assigned, ingress, statuses.no_certificate()])
        targets = tuple(
            Target(target["revisionName"], target.get("percent") or 0, target.get("tag", ""))
            for target in status.get("traffic") or ()
            if target["revisionName"] in seen
        )
        message = "" if assigned.status != "False" else conditions.read(config, "Ready").message or assigned.message
        self._routes.set(namespace, Entry(name, targets, message))

    def _assign(self, route: Object, config: Object, seen: dict[str, Seen]) -> tuple[Condition, list[Object]]:
        """Return whether every target can take traffic, and the traffic with revisions instead of "latest"."""
        namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
        present = {target["revisionName"] for target in route["status"].get("traffic") or ()}
        traffic = []
        for target in route["spec"]["traffic"]:
            revision = target.get("revisionName")
            if target["latestRevision"]:
                revision = config["status"].get("latestReadyRevisionName")
                if revision is None:
                    return statuses.no_latest(name, conditions.read(config, "Ready")), []
            elif revision not in seen:
                return statuses.missing(revision), []
            elif not seen[revision].proven and revision not in present:
                return statuses.not_ready(revision, seen[revision].ready), []
            percent = target.get("percent")
            moving = rollout.current(route) if target["latestRevision"] else None
            if moving is not None and percent:
                before = [share for share in moving.split(percent, time.time()) if share[0] in seen]
                percent = before.pop()[1]
                traffic += [{"latestRevision": True, "revisionName": old, "percent": kept} for old, kept in before]
                percent += target["percent"] - percent - sum(kept for _, kept in before)  # of a revision that is gone
            wire: Object = {"latestRevision": target["latestRevision"], "revisionName": revision}
            if percent is not None:
                wire["percent"] = percent
            if tag := target.get("tag"):
                wire |= {"tag": tag, "url": self._urls.service(namespace, name, tag)}
            traffic.append(wire)
        return Condition("AllTrafficAssigned"), traffic

    async def _mark_routed(
        self, revisions: list[Object], route: Object, seen: dict[str, Seen], pools: dict[str, Pool]
    ) -> None:
        """Label revisions as active (traffic or a tag leads there) or reserve."""
        routed = {target["revisionName"] for target in route["status"].get("traffic") or ()}
        for revision in revisions:
            meta = revision["metadata"]
            look = seen[meta["name"]]
            pools[meta["name"]].set_reachable(meta["name"] in routed or not look.proven)
            state = "active" if meta["name"] in routed else "reserve" if look.proven or look.failed else "pending"
            if meta["labels"].get(labels.ROUTING_STATE) == state:
                continue
            fresh = self._store.find(labels.REVISION_KIND, meta["namespace"], meta["name"])
            if fresh is None:
                continue
            fresh["metadata"]["labels"][labels.ROUTING_STATE] = state
            fresh["metadata"]["annotations"][labels.ROUTING_STATE_MODIFIED] = now()
            if state == "active":
                fresh["metadata"]["annotations"][labels.ROUTES] = route["metadata"]["name"]
            else:
                fresh["metadata"]["annotations"].pop(labels.ROUTES, None)
            await self._store.update(fresh)

    async def _write_service(self, service: Object, config: Object, route: Object, taken: Object | None) -> None:
        status = service.setdefault("status", {})
        for name in ("latestCreatedRevisionName", "latestReadyRevisionName"):
            if name in config["status"]:
                status[name] = config["status"][name]
        status.update(
            {name: route["status"][name] for name in ("url", "address", "traffic") if name in route["status"]}
        )
        configured, routed = conditions.read(config, "Ready"), conditions.read(route, "Ready")
        given = [
            Condition("ConfigurationsReady", configured.status, configured.reason, configured.message),
            Condition("RoutesReady", routed.status, routed.reason, routed.message),
        ]
        if taken is not None:
            given[1] = statuses.name_taken(taken["metadata"]["name"])
        await self._write_status(service, given)

    async def _write_status(self, obj: Object, given: list[Condition], happy: list[Condition] | None = None) -> None:
        """Write status and conditions; `happy` replaces the computed Ready. A deleted object is left alone."""
        before = conditions.read(obj, "Ready").status
        conditions.write(obj, happy if happy is not None else given, computed=happy is None)
        wire = copy(obj)
        wire["metadata"].pop("resourceVersion", None)  # what is observed is named by observedGeneration
        try:
            await self._store.update_status(wire)
        except NotFound:
            return
        ready = conditions.read(obj, "Ready")
        if ready.status != before and ready.status == "True":
            said = _READY_NEWS.get(obj["kind"], "{kind} becomes ready").format(kind=obj["kind"])
            self._recorder.note(obj, f"{obj['kind']}Ready", said)
        elif ready.status != before and ready.status == "False":
            self._recorder.note(obj, ready.reason or "Failed", ready.message, warning=True)
