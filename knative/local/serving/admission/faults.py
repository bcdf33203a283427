"""Faults of an object, said together as Knative's webhooks say them. Source: knative.dev/pkg/apis FieldError."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from zeroflow.knative.local.api.errors import BadRequest

_DENIED = 'admission webhook "validation.webhook.serving.knative.dev" denied the request: validation failed: '
INT32_MAX = 2147483647


class Fault(NamedTuple):
    """What is wrong, and at which path of the object."""

    message: str
    path: str
    details: str = ""


def refuse(faults: Iterable[Fault]) -> None:
    """Raise BadRequest, as a webhook's refusal is, when there is a fault; those with one message are one sentence."""
    paths: dict[tuple[str, str], set[str]] = {}
    for fault in faults:
        paths.setdefault((fault.message, fault.details), set()).add(fault.path)
    if paths:
        said = [
            f"{message}: {', '.join(sorted(where))}" + (f"\n{details}" if details else "")
            for (message, details), where in sorted(paths.items())
        ]
        raise BadRequest(_DENIED + "\n".join(said))


def disallowed(given: Mapping[str, Any], allowed: Iterable[str], where: str) -> Iterator[Fault]:
    """Yield the fields of `given` that are set and may not be."""
    for name in set(given) - set(allowed):
        if given[name] not in (None, [], {}, "", False):
            yield Fault("must not set the field(s)", f"{where}.{name}")


def missing(where: str) -> Fault:
    """Say that a field must be set."""
    return Fault("missing field(s)", where)


def invalid(value: object, where: str, details: str = "") -> Fault:
    """Say that a value cannot be."""
    return Fault(f"invalid value: {value}", where, details)


def out_of_range(value: Any, least: int, most: int, where: str) -> Iterator[Fault]:
    """Yield a fault when a number is none, or is not between the two."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        yield Fault(f"expected {least} <= {value} <= {most}", where)
