"""A gradual rollout: traffic for the latest revision moves from the one before it in steps.

With `serving.knative.dev/rollout-duration: 120s` the new revision gets 1 % at once and then equal steps of at least
1 %, at most one a second, until it has everything; the oldest revision gives first. What is under way is an
annotation of the Route, and how far it is follows from the clock alone, so a restarted host goes on where it should
be. Tags follow at once. Source: knative.dev/serving pkg/reconciler/route/traffic rollout.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.knative.local.serving import labels
from zeroflow.knative.local.serving.scaling import duration_s

Object = dict[str, Any]

MIN_STEP_S = 1.0


@dataclass(frozen=True)
class Rollout:
    """A move of 100 % from `before` (revision -> percent, oldest first) to `to`."""

    to: str
    before: tuple[tuple[str, int], ...]
    started_s: float
    duration_s: float

    @property
    def _steps(self) -> tuple[float, int]:
        """The seconds and the percent of one step."""
        count = max(1.0, min(self.duration_s / MIN_STEP_S, 99.0))
        return self.duration_s / count, math.ceil(99 / count)

    def share(self, now_s: float) -> int:
        """Return the percent that the new revision has."""
        step_s, size = self._steps
        return min(100, 1 + size * max(0, math.floor((now_s - self.started_s) / step_s + 1e-6)))

    def next_s(self, now_s: float) -> float | None:
        """Return when the next step is due; None when there is none."""
        if self.share(now_s) >= 100:
            return None
        step_s, _ = self._steps
        taken = max(0, math.floor((now_s - self.started_s) / step_s + 1e-6))
        return self.started_s + (taken + 1) * step_s

    def split(self, percent: int, now_s: float) -> list[tuple[str, int]]:
        """Split one target's percent between the revisions, the new one last; what is left is never lost."""
        new = max(1, round(percent * self.share(now_s) / 100)) if percent else 0
        left, shares = percent - new, []
        for revision, before in reversed(self.before):  # the newest keeps, so the oldest gives
            kept = min(left, round(percent * before / 100))
            left -= kept
            if kept:
                shares.append((revision, kept))
        if left and shares:
            shares[0] = (shares[0][0], shares[0][1] + left)
        elif left:
            new += left
        return [*reversed(shares), (self.to, new)]

    def wire(self) -> str:
        """Write it as an annotation's value."""
        fields = {"to": self.to, "before": self.before, "started": self.started_s, "duration": self.duration_s}
        return json.dumps(fields, separators=(",", ":"))


def current(route: Object) -> Rollout | None:
    """Read what is under way from a Route; None for nothing, or for what cannot be read."""
    try:
        wire = json.loads((route["metadata"].get("annotations") or {})[labels.ROLLOUT])
        before = tuple((str(revision), int(percent)) for revision, percent in wire["before"])
        return Rollout(str(wire["to"]), before, float(wire["started"]), float(wire["duration"]))
    except (KeyError, TypeError, ValueError):
        return None


def begun(
    route: Object, latest: str, known: Mapping[str, object], now_s: float, default_s: float = 0.0
) -> Rollout | None:
    """Return the rollout to `latest` that is under way or begins now; None when all traffic goes there at once.

    It takes `default_s` where the Route does not say how long.
    """
    going = current(route)
    if going is not None and going.to == latest:
        return going if going.share(now_s) < 100 and any(name in known for name, _ in going.before) else None
    written = (route["metadata"].get("annotations") or {}).get(labels.ROLLOUT_DURATION)
    span = duration_s(written) if written else default_s
    assigned = (route.get("status") or {}).get("traffic") or ()
    floating = [target for target in assigned if target.get("latestRevision") and target.get("percent")]
    total = sum(target["percent"] for target in floating)
    before = _shares(floating, total, known)
    if not span or not before or latest in before:
        return None
    return Rollout(latest, tuple(before.items()), now_s, span)


def _shares(targets: list[Object], total: int, known: Mapping[str, object]) -> dict[str, int]:
    shares: dict[str, int] = {}
    for target in targets:
        name = target["revisionName"]
        if name in known:
            shares[name] = shares.get(name, 0) + round(100 * target["percent"] / total)
    return shares
