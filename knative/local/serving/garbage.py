"""Which revisions nobody needs any more: routed ones, the latest ready one and those marked `no-gc` always stay.

Of the others at least `keep_least` stay, however old, and at most `keep_most`; between the two go those that were made
and last routed long ago. Source: knative.dev/serving pkg/reconciler/gc, defaults of config-gc.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from zeroflow.knative.local.serving import labels

Object = dict[str, Any]


@dataclass(frozen=True)
class Retention:
    """What config-gc says."""

    since_create_s: float = 48 * 3600.0
    since_active_s: float = 15 * 3600.0
    keep_least: int = 20
    keep_most: float = 1000
    """Infinite: all of them."""


def doomed(revisions: list[Object], latest_ready: str | None, retention: Retention, now: datetime) -> list[str]:
    """Return the names of the revisions to delete, those that were active longest ago first."""
    idle = [revision for revision in revisions if not _kept(revision, latest_ready)]
    if len(idle) <= retention.keep_least:
        return []
    idle.sort(key=_last_active)
    spare = len(idle) - retention.keep_least
    stale = [revision for revision in idle if _stale(revision, retention, now)][:spare]
    over = max(0, len(idle) - len(stale) - retention.keep_most)
    stale += [revision for revision in idle if revision not in stale][: int(over)]
    return [str(revision["metadata"]["name"]) for revision in stale]


def _kept(revision: Object, latest_ready: str | None) -> bool:
    meta = revision["metadata"]
    if meta["name"] == latest_ready or (meta.get("annotations") or {}).get(labels.NO_GC, "").lower() == "true":
        return True
    return bool((meta.get("labels") or {}).get(labels.ROUTING_STATE) != "reserve")


def _stale(revision: Object, retention: Retention, now: datetime) -> bool:
    created = datetime.fromisoformat(revision["metadata"]["creationTimestamp"])
    if (now - created).total_seconds() < retention.since_create_s:
        return False
    return (now - _last_active(revision)).total_seconds() >= retention.since_active_s


def _last_active(revision: Object) -> datetime:
    meta = revision["metadata"]
    written = (meta.get("annotations") or {}).get(labels.ROUTING_STATE_MODIFIED) or meta["creationTimestamp"]
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = datetime.fromisoformat(meta["creationTimestamp"])
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
