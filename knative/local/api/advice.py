"""What an object declares that has no effect on this host, told to whoever writes it (`Warning:` headers).

Processes are no containers: what bounds a container alone is accepted, since a manifest is written for clusters as
well, and said. Source: Kubernetes API concepts, "Warnings"; core/v1 SecurityContext.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from zeroflow.knative.local.api.objects import Object

_RUNS_AS_IT_IS: Final = {
    "Job.batch": ("template",),
    "CronJob.batch": ("jobTemplate", "spec", "template"),
    "JobSink.sinks.knative.dev": ("job", "spec", "template"),
    "ContainerSource.sources.knative.dev": ("template",),
}
"""Kinds whose programs run as the host's own user; where in the spec the Pod's template is."""
_TEMPLATES: Final = {
    **_RUNS_AS_IT_IS,
    "Service.serving.knative.dev": ("template",),
    "Configuration.serving.knative.dev": ("template",),
}
_BOUNDS: Final = ("capabilities", "seccompProfile", "appArmorProfile", "seLinuxOptions")
_USERS: Final = ("runAsUser", "runAsGroup", "fsGroup", "supplementalGroups")


def advice(kind: str, obj: Object) -> list[str]:
    """Return a line for each field of a Pod template that does nothing here; the object may be ill-formed."""
    found: object = obj.get("spec")
    for step in (*_TEMPLATES.get(kind, ("",)), "spec"):
        found = found.get(step) if isinstance(found, dict) else None
    return list(_ineffective(found, kind)) if isinstance(found, dict) else []


def _ineffective(pod: Object, kind: str) -> Iterator[str]:
    where = ".".join(("spec", *_TEMPLATES[kind], "spec"))
    fields = (*_BOUNDS, *(_USERS if kind in _RUNS_AS_IT_IS else ()))
    contexts = {f"{where}.securityContext": pod.get("securityContext")}
    for group in ("initContainers", "containers"):
        for index, container in enumerate(pod.get(group) or ()):
            if isinstance(container, dict):
                contexts[f"{where}.{group}[{index}].securityContext"] = container.get("securityContext")
    for path, context in contexts.items():
        if not isinstance(context, dict):
            continue
        for field in fields:
            if context.get(field):
                why = "its programs run as the host's user" if field in _USERS else "a process is no container"
                yield f"{path}.{field}: has no effect on this host: {why}"
