"""The smaller ConfigMaps: revisions that nobody needs, the time that a start may take, what the network does.

What this host cannot do is refused by name when it is asked for, Knative's own values and the plumbing of a cluster
(images, certificates, ingress classes) are taken as they are. Source: knative.dev/serving pkg/gc, pkg/deployment,
config/core/configmaps/{network,domain,observability}.yaml.
"""

from __future__ import annotations

import math

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.serving.configuration.reading import Data, check
from zeroflow.knative.local.serving.garbage import Retention
from zeroflow.knative.local.urls import DOMAIN

_NETWORK = {
    "domain-template": "{{.Name}}.{{.Namespace}}.{{.Domain}}",
    "tag-template": "{{.Tag}}-{{.Name}}",
    "auto-tls": "disabled",
    "external-domain-tls": "disabled",
    "cluster-local-domain-tls": "disabled",
    "system-internal-tls": "disabled",
    "internal-encryption": "false",
    "http-protocol": "enabled",
    "default-external-scheme": "http",
}
_OBSERVABILITY = {
    "logging.enable-request-log": "false",
    "logging.enable-probe-request-log": "false",
    "metrics-protocol": "none",
    "request-metrics-protocol": "none",
    "tracing-protocol": "none",
}


def retention(data: Data) -> Retention:
    """Read `config-gc`; raise InvalidInput in Knative's words for a bad value."""
    own = Retention()
    found = Retention(
        since_create_s=_span_or_never(data, "retain-since-create-time", own.since_create_s),
        since_active_s=_span_or_never(data, "retain-since-last-active-time", own.since_active_s),
        keep_least=data.whole("min-non-active-revisions", own.keep_least),
        keep_most=_count_or_any(data, "max-non-active-revisions", own.keep_most),
    )
    least, most = found.keep_least, found.keep_most
    check(least >= 0, f"min-non-active-revisions must be non-negative, was: {least}")
    said = f"min-non-active-revisions({least}) must be <= max-non-active-revisions({most:g})"
    check(least <= most, said)
    return found


def progress_deadline_s(data: Data, default_s: float) -> float:
    """Read `config-deployment`; raise InvalidInput in Knative's words for a bad value."""
    found_s, digest_s = data.span_s("progress-deadline", default_s), data.span_s("digest-resolution-timeout", 10.0)
    check(found_s > 0, f"progress-deadline cannot be a non-positive duration, was {found_s:g}s")
    said = f"progress-deadline must be rounded to a whole second, was: {found_s:g}s"
    check(found_s == int(found_s) or found_s == default_s, said)
    check(digest_s > 0, f"digest-resolution-timeout cannot be a non-positive duration, was {digest_s:g}s")
    return found_s


def rollout_s(data: Data) -> float:
    """Read `config-network`: how long traffic takes to move to a new revision where a Service does not say."""
    found_s = data.whole("rollout-duration", 0)
    check(found_s >= 0, f"rollout-duration must be a positive integer, but was {found_s}")
    _only(data, _NETWORK)
    return float(found_s)


def check_observability(data: Data) -> None:
    """Read `config-observability`."""
    _only(data, _OBSERVABILITY)


def check_domain(names: list[str]) -> None:
    """Read `config-domain`: the keys are names of domains."""
    for name in names:
        if name not in (DOMAIN, "svc.cluster.local"):
            raise InvalidInput(
                f"{name}: this host's domain is {DOMAIN}; a DomainMapping gives one Service another name"
            )


def _only(data: Data, known: dict[str, str]) -> None:
    for key, value in known.items():
        written = data.text(key, value)
        check(written.lower() == value.lower(), f"{key} = {written}: this host has {value}")


def _span_or_never(data: Data, key: str, default_s: float) -> float:
    if data.text(key, "").lower() == "disabled":
        return math.inf
    found_s = data.span_s(key, default_s)
    check(found_s >= 0, f"{key} must be non-negative, was: {found_s:g}s")
    return found_s


def _count_or_any(data: Data, key: str, default: float) -> float:
    if data.text(key, "").lower() == "disabled":
        return math.inf
    found = data.whole(key, int(default))
    check(found >= 0, f"{key} must be non-negative, was: {found}")
    return found
