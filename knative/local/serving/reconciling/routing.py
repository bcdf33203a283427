"""A Route's traffic: which revisions it leads to, by name, by tag, and step by step during a rollout.

A target that cannot take traffic leaves the assignment as it was. Source: knative.dev/serving pkg/reconciler/route.
"""

from __future__ import annotations

import time
from typing import Any

from zeroflow.knative.local.api.objects import copy
from zeroflow.knative.local.serving import conditions, labels, rollout, statuses
from zeroflow.knative.local.serving.conditions import Condition
from zeroflow.knative.local.serving.reconciling.revisions import mark
from zeroflow.knative.local.serving.reconciling.scope import Scope
from zeroflow.knative.local.serving.routes import Entry, Target
from zeroflow.knative.local.serving.statuses import Seen

Object = dict[str, Any]


async def reconcile(scope: Scope, route: Object) -> Object:
    """Bring a Route up to date and return it with its status."""
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    revisions = scope.store.list(labels.REVISION_KIND, namespace)
    seen = {str(revision["metadata"]["name"]): statuses.look(scope.pool_of(revision)) for revision in revisions}
    configs = {
        target["configurationName"]: scope.store.find(labels.CONFIGURATION_KIND, namespace, target["configurationName"])
        for target in route["spec"].get("traffic") or ()
        if target.get("configurationName")
    }
    route = await _roll_out(scope, route, configs, seen)
    status = route.setdefault("status", {})
    assigned, traffic = _assign(scope, route, configs, seen)
    if assigned.status == "True":
        status["traffic"] = traffic
    local = (route["metadata"].get("labels") or {}).get(labels.VISIBILITY) == labels.CLUSTER_LOCAL
    reached = scope.urls.service(namespace, name)
    url = f"http://{name}.{namespace}.svc.cluster.local" if local else reached
    status.update(url=url, address={"url": scope.urls.inside(namespace, name) if local else reached})
    ingress = Condition("IngressReady") if status.get("traffic") else conditions.unknown("IngressReady")
    await scope.write_status(route, [assigned, ingress, statuses.no_certificate()])
    targets = tuple(
        Target(target["revisionName"], target.get("percent") or 0, target.get("tag", ""))
        for target in status.get("traffic") or ()
        if target["revisionName"] in seen
    )
    scope.routes.set(namespace, Entry(name, targets, _why_not(assigned, configs), local))
    await mark(scope, [revision for revision in revisions if _concerns(revision, route, configs)])
    return route


def _why_not(assigned: Condition, configs: dict[str, Object | None]) -> str:
    if assigned.status != "False":
        return ""
    failed = [conditions.read(config, "Ready").message for config in configs.values() if config is not None]
    return next(filter(None, failed), assigned.message)


def _concerns(revision: Object, route: Object, configs: dict[str, Object | None]) -> bool:
    """Return whether what this Route says may change what is said of a revision."""
    meta = revision["metadata"]
    if meta["labels"].get(labels.CONFIGURATION) in configs:
        return True
    if route["metadata"]["name"] in meta["annotations"].get(labels.ROUTES, "").split(","):
        return True
    return any(target["revisionName"] == meta["name"] for target in route["status"].get("traffic") or ())


def _assign(
    scope: Scope, route: Object, configs: dict[str, Object | None], seen: dict[str, Seen]
) -> tuple[Condition, list[Object]]:
    """Return whether every target can take traffic, and the traffic with revisions instead of "latest"."""
    namespace, name = route["metadata"]["namespace"], route["metadata"]["name"]
    present = {target["revisionName"] for target in route["status"].get("traffic") or ()}
    traffic = []
    for target in route["spec"].get("traffic") or ():
        revision = target.get("revisionName")
        if target["latestRevision"]:
            config = configs.get(target["configurationName"])
            if config is None:
                return statuses.no_configuration(target["configurationName"]), []
            revision = (config.get("status") or {}).get("latestReadyRevisionName")
            if revision is None:
                return statuses.no_latest(target["configurationName"], conditions.read(config, "Ready")), []
        elif revision not in seen:
            return statuses.missing(revision), []
        elif not seen[revision].proven and revision not in present:
            return statuses.not_ready(revision, seen[revision].ready), []
        percent = target.get("percent")
        moving = rollout.current(route) if target["latestRevision"] else None
        if moving is not None and percent and moving.to == revision:
            before = [share for share in moving.split(percent, time.time()) if share[0] in seen]
            percent = before.pop()[1]
            traffic += [{"latestRevision": True, "revisionName": old, "percent": kept} for old, kept in before]
            percent += target["percent"] - percent - sum(kept for _, kept in before)  # of a revision that is gone
        wire: Object = {"latestRevision": target["latestRevision"], "revisionName": revision}
        if percent is not None:
            wire["percent"] = percent
        if tag := target.get("tag"):
            wire |= {"tag": tag, "url": scope.urls.service(namespace, name, tag)}
        traffic.append(wire)
    return Condition("AllTrafficAssigned"), traffic


async def _roll_out(scope: Scope, route: Object, configs: dict[str, Object | None], seen: dict[str, Seen]) -> Object:
    """Begin, go on with, or end the move of traffic to the latest ready revision; it is kept in the Route."""
    latest = None
    if len(configs) == 1:  # of several it would not be clear which one moves
        config = next(iter(configs.values())) or {}
        latest = (config.get("status") or {}).get("latestReadyRevisionName")
    moving = rollout.begun(route, latest, seen, time.time(), scope.maps.rollout_s()) if latest is not None else None
    annotations = route["metadata"].setdefault("annotations", {})
    wanted = moving.wire() if moving is not None else None
    if annotations.get(labels.ROLLOUT) != wanted:
        changed = copy(route)
        changed["metadata"]["annotations"].pop(labels.ROLLOUT, None)
        if wanted is not None:
            changed["metadata"]["annotations"][labels.ROLLOUT] = wanted
        route = await scope.store.update(changed)
    if moving is not None and (due_s := moving.next_s(time.time())) is not None:
        meta = route["metadata"]
        service = (meta.get("labels") or {}).get(labels.SERVICE)
        kind = labels.SERVICE_KIND if service else labels.ROUTE_KIND
        scope.later(due_s - time.time(), kind, meta["namespace"], service or meta["name"])
    return route
