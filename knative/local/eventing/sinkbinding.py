"""SinkBinding: what is bound learns where its events go, from K_SINK and K_CE_OVERRIDES in its environment.

Subjects on this host are Jobs (batch) and Services (serving.knative.dev), by name or by labels, in the binding's own
namespace. A Job is bound when it is created, and only then: its template never changes. A Service is bound at every
write and when the binding or its sink changes, which makes a revision; when the binding goes, so do the variables.
A sink that cannot be resolved binds nothing. Source: sources.knative.dev/v1 SinkBinding.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

from zeroflow.knative.local.api.errors import Conflict, NotFound
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations, label_selector, overrides
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import SERVICE, Reference, Resolver
from zeroflow.knative.local.eventing.errors import InvalidSpec, Unresolved
from zeroflow.knative.local.eventing.status import StatusWriter

logger = logging.getLogger(__name__)

SINK_BINDING = "SinkBinding.sources.knative.dev"
JOB = "Job.batch"
SINK, OVERRIDES = "K_SINK", "K_CE_OVERRIDES"
_SUBJECTS = {("batch", "Job"): JOB, ("serving.knative.dev", "Service"): SERVICE}
_CONDITIONS = ("SinkProvided", "SinkBindingAvailable", "OIDCIdentityCreated")
_OIDC_OFF = "authentication-oidc feature disabled"


def check_sink_binding(new: Object, old: Object | None) -> Object:
    """Default and check a SinkBinding."""
    spec, namespace = new.setdefault("spec", {}), new["metadata"].get("namespace", "")
    subject = spec.get("subject")
    if not isinstance(subject, dict):
        raise InvalidSpec("spec.subject", "missing: what the sink is bound to")
    group = str(subject.get("apiVersion") or "").rpartition("/")[0]
    if (group, subject.get("kind")) not in _SUBJECTS:
        raise InvalidSpec(
            "spec.subject.kind",
            f"{subject.get('apiVersion')} {subject.get('kind')} is not bound on this host: a Job (batch/v1) or a "
            "Service (serving.knative.dev/v1) is",
        )
    if subject.setdefault("namespace", namespace) != namespace:
        raise InvalidSpec("spec.subject.namespace", f"must be the binding's namespace {namespace!r}")
    if bool(subject.get("name")) == bool(subject.get("selector")):
        raise InvalidSpec("spec.subject", "expected exactly one of name and selector")
    label_selector.check(subject.get("selector"), "spec.subject.selector")
    destinations.validate(spec.get("sink"), "spec.sink")
    spec["sink"] = destinations.with_namespace(spec["sink"], namespace)
    overrides.extensions(spec)
    return new


class SinkBindings:
    """Binds subjects as they are written, and Services again when a binding changes."""

    def __init__(self, store: Store, resolver: Resolver) -> None:
        self._store, self._resolver = store, resolver
        store.admit(JOB, self._bind_job)
        store.admit(SERVICE, self._bind_service)

    async def changed(self, binding: Object, status: StatusWriter) -> None:
        """Bind what is there already and write the status."""
        conditions = Conditions(_CONDITIONS)
        conditions.true("OIDCIdentityCreated", _OIDC_OFF)
        conditions.true("SinkBindingAvailable")
        uri = None
        try:
            uri = self._resolver.resolve(binding["spec"]["sink"], binding["metadata"]["namespace"]).uri
            conditions.true("SinkProvided")
        except Unresolved as error:
            conditions.false("SinkProvided", error.why, str(error))
        await self._bind_again(binding)
        await status.write(conditions.written(binding, {"sinkUri": uri}))

    async def deleted(self, binding: Object) -> None:
        """Take the variables out of the Services that were bound."""
        await self._bind_again(binding)

    async def _bind_again(self, binding: Object) -> None:
        """Write each Service that the binding is about: admission gives it the environment that it should have."""
        for service in self._store.list(SERVICE, binding["metadata"]["namespace"]):
            if not _is_about(binding, SERVICE, service):
                continue
            wanted = copy(service)
            for container in _containers(wanted["spec"]["template"]):
                _unbind(container)
            wanted = self._bind_service(wanted, None)
            if wanted["spec"] != service["spec"]:
                try:
                    await self._store.update(wanted)
                except (Conflict, NotFound) as error:  # its own write binds it, or it is gone
                    logger.debug("not bound: service=%s reason=%s", service["metadata"]["name"], error)

    def _bind_job(self, new: Object, old: Object | None) -> Object:
        return new if old is not None else self._bind(JOB, new)

    def _bind_service(self, new: Object, old: Object | None) -> Object:
        return self._bind(SERVICE, new)

    def _bind(self, kind: str, obj: Object) -> Object:
        for binding in self._store.list(SINK_BINDING, obj["metadata"].get("namespace")):
            if binding["metadata"].get("deletionTimestamp") or not _is_about(binding, kind, obj):
                continue
            try:
                uri = self._resolver.resolve(binding["spec"]["sink"], binding["metadata"]["namespace"]).uri
            except Unresolved:
                continue
            bind(obj["spec"], uri, binding["spec"].get("ceOverrides"))
        return obj


class BindingReconciler:
    """Binds again what is there when a SinkBinding or its sink changes, and writes its status."""

    def __init__(self, bindings: SinkBindings, status: StatusWriter) -> None:
        self._bindings, self._status = bindings, status

    async def changed(self, binding: Object) -> None:
        """Bind what is there already."""
        await self._bindings.changed(binding, self._status)

    async def deleted(self, binding: Object) -> None:
        """Take the variables out again."""
        await self._bindings.deleted(binding)

    def references(self, binding: Object) -> set[Reference]:
        """Return the sink."""
        return destinations.references(binding["metadata"]["namespace"], binding["spec"].get("sink"))


def bind(spec: Object, uri: str, given: Object | None) -> None:
    """Tell every container of a spec's template where events go."""
    text = json.dumps(given, separators=(",", ":")) if given else ""
    for container in _containers(spec["template"]):
        _unbind(container)
        variables = [{"name": SINK, "value": uri}, {"name": OVERRIDES, "value": text}]
        container["env"] = [*(container.get("env") or ()), *variables]


def _is_about(binding: Object, kind: str, obj: Object) -> bool:
    subject = binding["spec"]["subject"]
    group = str(subject["apiVersion"]).rpartition("/")[0]
    if _SUBJECTS.get((group, subject["kind"])) != kind:
        return False
    if name := subject.get("name"):
        return bool(obj["metadata"].get("name") == name)
    return label_selector.matches(subject.get("selector"), obj["metadata"].get("labels") or {})


def _containers(template: Object) -> Iterator[Object]:
    spec = template.get("spec") or {}
    for field in ("initContainers", "containers"):
        yield from spec.get(field) or ()


def _unbind(container: Object) -> None:
    env = [variable for variable in container.get("env") or () if variable.get("name") not in (SINK, OVERRIDES)]
    if env or "env" in container:
        container["env"] = env
    if not container.get("env"):
        container.pop("env", None)
