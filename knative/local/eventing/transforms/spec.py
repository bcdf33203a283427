"""What an EventTransform must look like. Source: knative.dev/eventing pkg/apis/eventing/v1alpha1 (validation)."""

from __future__ import annotations

from typing import Any

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.errors import InvalidSpec

EXPRESSION_MAX_BYTES = 256 * 1024
_SUGGESTION = "create a new transformation, migrate services to the new one, and delete this transformation."


def check_event_transform(new: Object, old: Object | None) -> Object:
    """Check the expressions and the sink, without which there is no reply."""
    spec = new.get("spec") or {}
    new["spec"] = spec
    if not spec.get("jsonata"):
        if ((old or {}).get("spec") or {}).get("jsonata"):
            problem = "Transformations types are immutable, transformation type cannot be changed"
            raise InvalidSpec("spec.jsonata", f"{problem}. Suggestion: {_SUGGESTION}")
        raise InvalidSpec("spec.jsonata", "expected exactly one, got neither")
    _check_expression(spec["jsonata"], "spec.jsonata")
    if spec.get("sink"):
        destinations.validate(spec["sink"], "spec.sink")
        if spec["sink"].get("CACerts"):
            raise InvalidSpec("spec.sink.CACerts", "CACerts for the sink is not supported for JSONata transformations")
        spec["sink"] = destinations.with_namespace(spec["sink"], new["metadata"].get("namespace", ""))
    reply = spec.get("reply")
    if reply is None:
        return new
    if not isinstance(reply, dict):
        raise InvalidSpec("spec.reply", "must be an object with jsonata or discard")
    if not spec.get("sink"):
        raise InvalidSpec("spec.reply", "reply is set without spec.sink")
    if reply.get("jsonata") is not None:
        if reply.get("discard"):
            raise InvalidSpec("spec.reply.discard, spec.reply.jsonata", "expected exactly one, got both")
        _check_expression(reply["jsonata"], "spec.reply.jsonata")
    return new


def _check_expression(jsonata: Any, path: str) -> None:
    expression = jsonata.get("expression") if isinstance(jsonata, dict) else None
    if not isinstance(expression, str) or not expression.strip():
        raise InvalidSpec(f"{path}.expression", "missing: a JSONata expression that makes the new event")
    if len(expression.encode()) > EXPRESSION_MAX_BYTES:
        raise InvalidSpec(f"{path}.expression", f"must be at most {EXPRESSION_MAX_BYTES} bytes")
