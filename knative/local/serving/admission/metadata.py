"""What the annotations of a Service and of its template may say.

Source: knative.dev/serving pkg/apis/{serving/metadata_validation,autoscaling/annotation_validation}.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.serving import labels
from zeroflow.knative.local.serving.admission.faults import Fault, invalid
from zeroflow.knative.local.serving.scaling import ScaleDefaults, duration_s, progress_deadline_s, settings_of

Object = dict[str, Any]

_IDENTITY = (labels.CREATOR, labels.LAST_MODIFIER)
AUTHOR = "zeroflow"
"""Who creates and modifies: this host has one user."""


def sign(new: Object, old: Object | None) -> None:
    """Write down who created an object and who changed its spec last; nobody else can."""
    annotations = new["metadata"].setdefault("annotations", {})
    if old is None:
        annotations.update(dict.fromkeys(_IDENTITY, AUTHOR))
        return
    before = old["metadata"].get("annotations") or {}
    for key in _IDENTITY:
        annotations.setdefault(key, before.get(key, AUTHOR))
    if new.get("spec") != old.get("spec"):
        annotations[labels.LAST_MODIFIER] = AUTHOR


def own_faults(new: Object, old: Object | None) -> Iterator[Fault]:
    """Yield what is wrong with the annotations and labels of the object itself."""
    annotations = new["metadata"].get("annotations") or {}
    if old is not None:
        before = old["metadata"].get("annotations") or {}
        for key in _IDENTITY:
            if annotations.get(key) != before.get(key, annotations.get(key)):
                yield Fault("annotation value is immutable", f"metadata.annotations.{key}")
    for key in annotations:
        if key.startswith(labels.AUTOSCALING):
            yield Fault(
                "autoscaling annotations must be put under spec.template.metadata.annotations to work",
                f"metadata.annotations.{key}",
            )
    rollout = annotations.get(labels.ROLLOUT_DURATION)
    if rollout is not None:
        span = duration_s(rollout)
        if span is None or span != int(span):
            yield invalid(rollout, f"metadata.annotations.{labels.ROLLOUT_DURATION}")
    visibility = (new["metadata"].get("labels") or {}).get(labels.VISIBILITY)
    if visibility not in (None, labels.CLUSTER_LOCAL):
        yield invalid(visibility, f"metadata.labels.{labels.VISIBILITY}")


def template_faults(template: Object, where: str, defaults: ScaleDefaults) -> Iterator[Fault]:
    """Yield what is wrong with the annotations of a revision template."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    concurrency = template["spec"].get("containerConcurrency")
    try:
        settings_of(annotations, concurrency if isinstance(concurrency, int) else 0, defaults)
        progress_deadline_s(annotations, 0.0)
    except InvalidInput as error:
        message, _, keys = str(error).rpartition(": ")
        for key in keys.split(", "):
            yield Fault(message, f"{where}.metadata.annotations.{key}")
