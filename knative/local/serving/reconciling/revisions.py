"""Whether traffic leads to a revision, as its labels and its pool have to know it.

Source: knative.dev/serving pkg/reconciler/labeler.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import now
from zeroflow.knative.local.serving import labels, statuses
from zeroflow.knative.local.serving.reconciling.scope import Scope

Object = dict[str, Any]


async def mark(scope: Scope, revisions: list[Object]) -> None:
    """Label revisions of one namespace as active (a Route leads there), reserve or pending."""
    if not revisions:
        return
    leading: dict[str, list[str]] = {}
    for route in scope.store.peek(labels.ROUTE_KIND, revisions[0]["metadata"]["namespace"]):
        for name in {target["revisionName"] for target in (route.get("status") or {}).get("traffic") or ()}:
            leading.setdefault(name, []).append(str(route["metadata"]["name"]))
    for revision in revisions:
        meta = revision["metadata"]
        pool = scope.pool_of(revision)
        look, routes = statuses.look(pool), ",".join(sorted(leading.get(meta["name"], ())))
        pool.set_reachable(bool(routes) or not look.proven)
        state = "active" if routes else "reserve" if look.proven or look.failed else "pending"
        if meta["labels"].get(labels.ROUTING_STATE) != state or meta["annotations"].get(labels.ROUTES, "") != routes:
            await _write(scope, meta, state, routes)


async def _write(scope: Scope, meta: Object, state: str, routes: str) -> None:
    fresh = scope.store.find(labels.REVISION_KIND, meta["namespace"], meta["name"])
    if fresh is None:
        return
    if fresh["metadata"]["labels"].get(labels.ROUTING_STATE) != state:
        fresh["metadata"]["labels"][labels.ROUTING_STATE] = state
        fresh["metadata"]["annotations"][labels.ROUTING_STATE_MODIFIED] = now()
    fresh["metadata"]["annotations"].pop(labels.ROUTES, None)
    if routes:
        fresh["metadata"]["annotations"][labels.ROUTES] = routes
    await scope.store.update(fresh)
