"""A Configuration's Revisions: the newest is made and has to show that it works, old ones go.

A revision becomes the latest ready one when one of its instances has been ready; until then, and when it fails, the
one before it stays. Source: knative.dev/serving pkg/reconciler/{configuration,revision,gc}.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.serving import conditions, garbage, labels, objects, statuses
from zeroflow.knative.local.serving.reconciling.revisions import mark
from zeroflow.knative.local.serving.reconciling.scope import Scope
from zeroflow.knative.local.serving.statuses import Seen

Object = dict[str, Any]


async def reconcile(scope: Scope, config: Object) -> Object | None:
    """Bring a Configuration up to date; return the revision whose name is taken, if one is."""
    newest, taken = await _newest(scope, config)
    revisions = _revisions(scope, config)
    pools = {str(revision["metadata"]["name"]): scope.pool_of(revision) for revision in revisions}
    for name, pool in pools.items():
        if name == newest["metadata"]["name"] and not taken:
            pool.deploy()
        else:
            pool.retire()
    seen = {name: statuses.look(pool) for name, pool in pools.items()}
    for revision in revisions:
        await _write_revision(scope, revision, seen[revision["metadata"]["name"]])
    await _write_status(scope, config, newest, seen)
    await mark(scope, revisions)
    await _collect(scope, config)
    return newest if taken else None


async def _newest(scope: Scope, config: Object) -> tuple[Object, bool]:
    """Return the revision of the present template, made when it is missing, and whether its name is taken."""
    wanted = objects.revision(config)
    meta = wanted["metadata"]
    found = scope.store.find(labels.REVISION_KIND, meta["namespace"], meta["name"])
    if found is None:
        return await scope.store.create(wanted), False
    mine = (found["metadata"].get("labels") or {}).get(labels.CONFIGURATION_UID) == config["metadata"]["uid"]
    return found, not (mine and found["spec"] == wanted["spec"])


def _revisions(scope: Scope, config: Object) -> list[Object]:
    """Return the revisions of a Configuration, oldest first."""
    meta = config["metadata"]
    found = scope.store.list(labels.REVISION_KIND, meta["namespace"], {labels.CONFIGURATION_UID: meta["uid"]})
    return sorted(found, key=lambda revision: int(revision["metadata"]["labels"][labels.CONFIGURATION_GENERATION]))


async def _write_revision(scope: Scope, revision: Object, seen: Seen) -> None:
    revision.setdefault("status", {}).update(
        containerStatuses=[
            {"name": container["name"], "imageDigest": container.get("image", "")}
            for container in revision["spec"]["containers"]
        ],
        actualReplicas=seen.actual,
        desiredReplicas=seen.desired,
    )
    await scope.write_status(revision, list(seen.conditions))


async def _write_status(scope: Scope, config: Object, newest: Object, seen: dict[str, Seen]) -> None:
    status = config.setdefault("status", {})
    name = newest["metadata"]["name"]
    ready = seen[name].ready if name in seen else conditions.unknown("Ready")
    before = status.get("latestReadyRevisionName")
    status["latestCreatedRevisionName"] = name
    if ready.status == "True":
        status["latestReadyRevisionName"] = name
    elif before not in seen:
        others = [other for other, look in seen.items() if look.proven]
        status.pop("latestReadyRevisionName", None)
        if others:
            status["latestReadyRevisionName"] = others[-1]
    await scope.write_status(config, [], statuses.configuration(name, ready))


async def _collect(scope: Scope, config: Object) -> None:
    """Delete revisions that nobody needs any more."""
    latest = config["status"].get("latestReadyRevisionName")
    for gone in garbage.doomed(_revisions(scope, config), latest, scope.maps.retention(), datetime.now(UTC)):
        with suppress(NotFound):
            await scope.store.delete(labels.REVISION_KIND, config["metadata"]["namespace"], gone)
