"""What an operator can set about eventing; every field has a default that fits one machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EventingSettings:
    """The limits of the broker and its log."""

    max_event_bytes: int = 1024 * 1024
    """Largest request body that the ingress takes, and largest reply; 413 above it."""

    in_flight: int = 32
    """Deliveries under way at once to one subscriber."""

    window: int = 256
    """Deliveries of one subscriber held in memory; the rest wait on disk."""

    inline_bytes: int = 16 * 1024
    """Larger event data stays on disk until its delivery starts."""

    retention_days: float = 30.0
    """Finished events older than this leave the log."""

    retention_events: int = 500_000
    """At most this many events are kept; the oldest finished ones leave first."""

    prune_after_idle_s: float = 60.0
    """The log is pruned when no event came for this long."""

    platform_namespace: str = "zeroflow"
    """Functions of this namespace are the platform: their replies may carry types under dev.zeroflow."""

    allow_loopback: bool = False
    """Let subscriber URIs reach loopback addresses beyond this host's own port (tests and local development)."""
