"""What Knative fills in where a Service, Configuration or Route says nothing.

Source: knative.dev/serving pkg/apis/serving/v1 *_defaults, config-defaults.
"""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.serving.admission.pods import DEFAULT_TIMEOUT_S

Object = dict[str, Any]

_NAME = "user-container"
_HANDLERS = {"httpGet", "tcpSocket", "exec", "grpc"}


def template_defaults(spec: Object) -> None:
    """Fill in the template of a Service or Configuration."""
    pod = spec.setdefault("template", {}).setdefault("spec", {})
    if pod.get("timeoutSeconds") is None:
        pod["timeoutSeconds"] = DEFAULT_TIMEOUT_S
    if pod.get("containerConcurrency") is None:
        pod["containerConcurrency"] = 0
    pod.setdefault("enableServiceLinks", False)
    containers = pod.get("containers")
    if not isinstance(containers, list):
        return
    for number, container in enumerate(containers):
        if not container.get("name"):
            container["name"] = _NAME if len(containers) == 1 else f"{_NAME}-{number}"
        if len(containers) == 1 or container.get("ports"):
            _probe_defaults(container)


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
