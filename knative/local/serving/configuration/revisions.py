"""ConfigMap `config-defaults`: what a revision's template leaves open, and its bounds. Source: pkg/apis/config."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.processes.container import BadContainer, quantity
from zeroflow.knative.local.serving.configuration.reading import Data, check

_FIELD = re.compile(r"\{\{\s*\.(Name|Namespace)\s*\}\}")
_RESOURCES = ("cpu", "memory", "ephemeral-storage")


@dataclass(frozen=True)
class RevisionDefaults:
    """What is filled in, and how far a template may go."""

    timeout_s: int = 300
    most_timeout_s: int = 600
    response_start_s: int | None = None
    """None: no limit of its own."""
    idle_s: int = 0
    concurrency: int = 0
    most_concurrency: int = 1000
    unlimited: bool = True
    """Whether containerConcurrency may be 0."""
    service_links: bool | None = False
    container_name: str = "user-container"
    init_container_name: str = "init-container"
    requests: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def named(self, template: str, name: str, namespace: str) -> str:
        """Return a container's name by a template, for an object of this name."""
        return _FIELD.sub(lambda match: name if match[1] == "Name" else namespace, template)


def read(data: Data) -> RevisionDefaults:
    """Return the defaults of revisions; raise InvalidInput in Knative's words for a bad value."""
    own = RevisionDefaults()
    timeout_s = data.whole("revision-timeout-seconds", own.timeout_s)
    start_s = data.whole("revision-response-start-timeout-seconds", timeout_s)
    links = data.text("enable-service-links", "false").lower()
    found = RevisionDefaults(
        timeout_s=timeout_s,
        most_timeout_s=data.whole("max-revision-timeout-seconds", own.most_timeout_s),
        response_start_s=start_s if start_s != timeout_s else None,
        idle_s=data.whole("revision-idle-timeout-seconds", own.idle_s),
        concurrency=data.whole("container-concurrency", own.concurrency),
        most_concurrency=data.whole("container-concurrency-max-limit", own.most_concurrency),
        unlimited=data.flag("allow-container-concurrency-zero", default=own.unlimited),
        service_links={"true": True, "false": False}.get(links),
        container_name=_template(data, "container-name-template", own.container_name),
        init_container_name=_template(data, "init-container-name-template", own.init_container_name),
        requests=_quantities(data, "request"),
        limits=_quantities(data, "limit"),
    )
    most, start, idle = found.most_timeout_s, "revision-response-start-timeout-seconds", "revision-idle-timeout-seconds"
    said = f"revision-timeout-seconds ({timeout_s}) cannot be greater than max-revision-timeout-seconds ({most})"
    check(timeout_s <= most, said)
    greater = f"cannot be greater than revision-timeout-seconds ({timeout_s})"
    check(start_s <= timeout_s, f"{start} ({start_s}) {greater}")
    check(found.idle_s <= timeout_s, f"{idle} ({found.idle_s}) {greater}")
    check(timeout_s > 0, f"revision-timeout-seconds ({timeout_s}) must be positive")
    said = f"expected 1 <= {found.most_concurrency} <= 2147483647: container-concurrency-max-limit"
    check(1 <= found.most_concurrency <= 2147483647, said)
    said = f"expected 0 <= {found.concurrency} <= {found.most_concurrency}: container-concurrency"
    check(0 <= found.concurrency <= found.most_concurrency, said)
    return found


def _template(data: Data, key: str, default: str) -> str:
    written = data.text(key, default)
    if "{{" in _FIELD.sub("", written):
        raise InvalidInput(f'"{key}": this host knows {{{{.Name}}}} and {{{{.Namespace}}}}, not {written!r}')
    return written


def _quantities(data: Data, what: str) -> dict[str, str]:
    found = {}
    for resource in _RESOURCES:
        written = data.text(f"revision-{resource}-{what}", "")
        if written:
            try:
                quantity(written)
            except BadContainer as error:
                raise InvalidInput(f'failed to parse "revision-{resource}-{what}": {error}') from error
            found[resource] = written
    return found
