"""Canary traffic: what share each revision gets, and which revision counts as rolled out.

The rules are KServe's (serverless mode). A percentage P counts only once a revision has held all traffic: the newest
revision gets P, the last rolled-out one the rest under the tag `prev`. P absent or 100 promotes, 0 pins. When the
newest revision already is the rolled-out one and is then given less than 100 percent, the rollout is taken back to
the revision before it.

Source: KServe, semantics of canaryTrafficPercent (protocol/semantics.json of the contract).
"""

from dataclasses import dataclass
from typing import Any

from zeroflow.resources import conditions

Target = dict[str, Any]

SHADOW = "shadow"
"""The tag of a newest revision that gets copies of requests only."""


@dataclass(frozen=True)
class Rollout:
    """Which revisions have held all traffic."""

    latest: str | None = None
    previous: str | None = None

    @classmethod
    def of(cls, component: dict[str, Any]) -> "Rollout":
        """Read it from `status.components.predictor`."""
        return cls(component.get("latestRolledoutRevision"), component.get("previousRolledoutRevision"))


def traffic(percent: int | None, rollout: Rollout, tagged: bool, shadowed: bool = False) -> list[Target]:
    """Return the Knative Service's `spec.traffic`."""
    newest: Target = {"latestRevision": True, "percent": 100}
    if tagged:
        newest["tag"] = "latest"
    if shadowed:
        newest["tag"] = SHADOW
    if percent is None or percent == 100 or rollout.latest is None:
        return [newest]
    previous = {"latestRevision": False, "revisionName": rollout.latest, "percent": 100 - percent, "tag": "prev"}
    return [newest | {"percent": percent}, previous]


def advanced(rollout: Rollout, service: dict[str, Any]) -> Rollout:
    """Return the rollout after what the Knative Service's status tells; a status of an older spec tells nothing."""
    status = service.get("status") or {}
    newest = status.get("latestReadyRevisionName")
    if newest is None or not conditions.is_current(service):
        return rollout
    shares = {True: 0, False: 0}
    for target in status.get("traffic") or []:
        if target.get("revisionName") == newest:
            shares[bool(target.get("latestRevision"))] += target.get("percent") or 0
    if newest != rollout.latest:
        return Rollout(newest, rollout.latest) if shares[True] == 100 else rollout
    settled = newest == status.get("latestCreatedRevisionName")
    taken_back = shares[True] < 100 and sum(shares.values()) == 100
    if settled and taken_back and rollout.previous is not None:
        return Rollout(rollout.previous, rollout.previous)
    return rollout
