"""What Knative fills in where a Service, Configuration or Route says nothing.

Source: knative.dev/serving pkg/apis/serving/v1 *_defaults, config-defaults.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.serving.configuration.revisions import RevisionDefaults

Object = dict[str, Any]

_HANDLERS = {"httpGet", "tcpSocket", "exec", "grpc"}


def template_defaults(spec: Object, defaults: RevisionDefaults, metadata: Object) -> None:
    """Fill in the template of a Service or Configuration, whose metadata names its containers."""
    pod = spec.setdefault("template", {}).setdefault("spec", {})
    if pod.get("timeoutSeconds") in (None, 0):
        pod["timeoutSeconds"] = defaults.timeout_s
    limits = (("responseStartTimeoutSeconds", defaults.response_start_s), ("idleTimeoutSeconds", defaults.idle_s))
    for name, limit_s in limits:  # a shorter request is bounded as a whole
        if limit_s and pod.get(name) is None and pod["timeoutSeconds"] >= limit_s:
            pod[name] = limit_s
    if pod.get("containerConcurrency") is None:
        pod["containerConcurrency"] = defaults.concurrency
    if defaults.service_links is not None:
        pod.setdefault("enableServiceLinks", defaults.service_links)
    containers = pod.get("containers")
    if not isinstance(containers, list):
        return
    object_name = metadata.get("name", ""), metadata.get("namespace", "")
    for number, container in enumerate(containers):
        if not container.get("name"):
            name = defaults.named(defaults.container_name, *object_name)
            container["name"] = name if len(containers) == 1 else f"{name}-{number}"
        if len(containers) == 1 or container.get("ports"):
            _probe_defaults(container)
    for number, container in enumerate(pod.get("initContainers") or ()):
        if not container.get("name"):
            container["name"] = f"{defaults.named(defaults.init_container_name, *object_name)}-{number}"
    for container in (*containers, *(pod.get("initContainers") or ())):
        _resource_defaults(container, defaults)


def _resource_defaults(container: Object, defaults: RevisionDefaults) -> None:
    for kind, given in (("requests", defaults.requests), ("limits", defaults.limits)):
        if given:
            resources = container.setdefault("resources", {})
            resources[kind] = {**given, **(resources.get(kind) or {})}


def _probe_defaults(container: Object) -> None:
    readiness = container["readinessProbe"] = container.get("readinessProbe") or {}
    readiness.setdefault("successThreshold", 1)
    if not _HANDLERS & set(readiness):
        readiness["tcpSocket"] = {"port": 0}
    if readiness.get("periodSeconds"):
        readiness.setdefault("timeoutSeconds", 1)
        readiness.setdefault("failureThreshold", 3)


def traffic_defaults(spec: Object, *, in_service: bool) -> None:
    """Fill in the traffic of a Service or Route."""
    if in_service and not spec.get("traffic"):
        spec["traffic"] = [{"latestRevision": True, "percent": 100}]
    for target in spec.get("traffic") or ():
        if target.get("latestRevision") is None:
            target["latestRevision"] = not target.get("revisionName")
