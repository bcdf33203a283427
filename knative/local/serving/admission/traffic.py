"""What the traffic of a Service or a Route must be. Source: knative.dev/serving pkg/apis/serving/v1."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from zeroflow.knative.local.serving.admission.faults import Fault, disallowed, invalid, out_of_range

Object = dict[str, Any]

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_FIELDS = frozenset({"configurationName", "revisionName", "latestRevision", "percent", "tag"})


def traffic_faults(targets: list[Object], *, in_service: bool) -> Iterator[Fault]:
    """Yield what is wrong with `spec.traffic`; a Service's targets name no Configuration: it has one."""
    total = 0
    seen: dict[str, int] = {}
    for number, target in enumerate(targets):
        at = f"spec.traffic[{number}]"
        percent = target.get("percent") or 0
        yield from out_of_range(percent, 0, 100, f"{at}.percent")
        total += percent if isinstance(percent, int) else 0
        yield from disallowed(target, _FIELDS - {"configurationName"} if in_service else _FIELDS, at)
        yield from _reference_faults(target, at, in_service=in_service)
        if tag := target.get("tag"):
            if not DNS_1035.fullmatch(tag):
                yield invalid(f"not a DNS 1035 label prefix: {tag}", f"{at}.tag")
            if tag in seen:
                yield Fault(f'Multiple definitions for "{tag}"', f"spec.traffic[{seen[tag]}].tag")
                yield Fault(f'Multiple definitions for "{tag}"', f"{at}.tag")
            seen.setdefault(tag, number)
    if total != 100:
        yield Fault(f"Traffic targets sum to {total}, want 100", "spec.traffic")


def _reference_faults(target: Object, at: str, *, in_service: bool) -> Iterator[Fault]:
    named, config = target.get("revisionName") or "", target.get("configurationName")
    if not in_service:
        if named and config:
            yield Fault("expected exactly one, got both", f"{at}.configurationName")
            yield Fault("expected exactly one, got both", f"{at}.revisionName")
        if not named and not config:
            yield Fault("expected exactly one, got neither", f"{at}.configurationName")
            yield Fault("expected exactly one, got neither", f"{at}.revisionName")
    latest = target.get("latestRevision")
    if latest is not None and bool(named) == latest:
        said = str(latest).lower()
        yield Fault(f'may not set revisionName "{named}" when latestRevision is {said}', f"{at}.latestRevision")
