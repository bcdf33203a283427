"""A Service: its Configuration, its Route, and what both say about it.

Source: knative.dev/serving pkg/reconciler/service.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.errors import Conflict
from zeroflow.knative.local.api.objects import controller_of, copy
from zeroflow.knative.local.serving import conditions, labels, objects, statuses
from zeroflow.knative.local.serving.conditions import Condition
from zeroflow.knative.local.serving.reconciling import configurations, routing
from zeroflow.knative.local.serving.reconciling.scope import Scope

Object = dict[str, Any]

_COPIED = ("url", "address", "traffic")
_SYNCED = (labels.ROLLOUT_DURATION, labels.LAST_MODIFIER, labels.CREATOR)


async def reconcile(scope: Scope, service: Object) -> None:
    """Bring a Service and what it owns up to date."""
    config = await _ensure(scope, service, labels.CONFIGURATION_KIND, objects.configuration(service))
    if config is None:
        await _write_foreign(scope, service, "Configuration")
        return
    taken = await configurations.reconcile(scope, config)
    route = await _ensure(scope, service, labels.ROUTE_KIND, objects.route(service))
    if route is None:
        await _write_foreign(scope, service, "Route")
        return
    route = await routing.reconcile(scope, route)
    await _write_status(scope, service, config, route, taken)


async def _ensure(scope: Scope, service: Object, kind: str, wanted: Object) -> Object | None:
    """Return what the Service owns, made or corrected; None when somebody else owns that name."""
    meta = wanted["metadata"]
    found = scope.store.find(kind, meta["namespace"], meta["name"])
    if found is None:
        owner = service["metadata"]
        now = scope.store.find(labels.SERVICE_KIND, owner["namespace"], owner["name"])
        if now is None or now["metadata"]["uid"] != owner["uid"]:  # deleted during this pass, with what it owned
            raise Conflict.stale("services", owner["name"])
        made = await scope.store.create(wanted)
        scope.recorder.note(service, "Created", f'Created {wanted["kind"]} "{meta["name"]}"')
        return made
    if controller_of(found) != service["metadata"]["uid"]:
        return None
    changed = copy(found) | {"spec": wanted["spec"]}
    annotations = changed["metadata"].setdefault("annotations", {})
    for key in _SYNCED:
        if key in meta["annotations"]:
            annotations[key] = meta["annotations"][key]
        else:
            annotations.pop(key, None)
    visibility = meta["labels"].get(labels.VISIBILITY)
    changed["metadata"].setdefault("labels", {}).pop(labels.VISIBILITY, None)
    if visibility:
        changed["metadata"]["labels"][labels.VISIBILITY] = visibility
    return found if changed == found else await scope.store.update(changed)


async def _write_status(scope: Scope, service: Object, config: Object, route: Object, taken: Object | None) -> None:
    status = service.setdefault("status", {})
    for name in ("latestCreatedRevisionName", "latestReadyRevisionName"):
        if name in config["status"]:
            status[name] = config["status"][name]
    status.update({name: route["status"][name] for name in _COPIED if name in route["status"]})
    configured, routed = conditions.read(config, "Ready"), conditions.read(route, "Ready")
    given = [
        Condition("ConfigurationsReady", configured.status, configured.reason, configured.message),
        Condition("RoutesReady", routed.status, routed.reason, routed.message),
    ]
    if taken is not None:
        given[1] = statuses.name_taken(taken["metadata"]["name"])
    await scope.write_status(service, given)


async def _write_foreign(scope: Scope, service: Object, kind: str) -> None:
    """Say that the name of a part is in use by somebody else's."""
    failed = statuses.not_owned(kind, service["metadata"]["name"])
    other = "RoutesReady" if kind == "Configuration" else "ConfigurationsReady"
    await scope.write_status(service, [failed, conditions.unknown(other)])
