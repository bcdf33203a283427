"""A DomainMapping: a name of the user's own for a Service. Source: knative.dev/serving pkg/reconciler/domainmapping."""

from __future__ import annotations

from zeroflow.knative.local.serving import conditions, labels, statuses
from zeroflow.knative.local.serving.conditions import Condition
from zeroflow.knative.local.serving.reconciling.scope import Scope


async def reconcile(scope: Scope, namespace: str, name: str) -> None:
    """Bring one DomainMapping up to date."""
    mapping = scope.store.find(labels.MAPPING_KIND, namespace, name)
    if mapping is None:
        scope.routes.map_host(name, namespace, None)
        return
    target = mapping["spec"]["ref"]["name"]
    scope.routes.map_host(name, namespace, target)
    resolved = Condition("ReferenceResolved")
    if scope.store.find(labels.SERVICE_KIND, namespace, target) is None:
        resolved = conditions.false("ReferenceResolved", "ResolveFailed", f'services "{target}" not found')
    first, _, rest = name.partition(".")
    at_home = rest.startswith(f"{namespace}.")
    url = scope.urls.service(namespace, first) if at_home else f"http://{name}:{scope.urls.port}"
    mapping.setdefault("status", {}).update(url=url, address={"url": url})
    given = [Condition("DomainClaimed"), resolved, Condition("IngressReady"), statuses.no_certificate()]
    await scope.write_status(mapping, given)
