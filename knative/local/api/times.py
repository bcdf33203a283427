"""Durations and ages as kubectl prints them: 45s, 3m12s, 5h, 2d4h. Source: the rounding of apimachinery's
HumanDuration.
"""

from __future__ import annotations

from datetime import UTC, datetime

MINUTE, HOUR, DAY, YEAR = 60, 3600, 86400, 365 * 86400


def parsed(text: str) -> datetime | None:
    """Read an RFC 3339 time; None when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def age(text: str | None) -> str:
    """Return how long ago a time was."""
    moment = parsed(text or "")
    return "<unknown>" if moment is None else human((datetime.now(UTC) - moment).total_seconds())


def human(seconds: float) -> str:
    """Return a duration in at most two units, coarser the longer it is."""
    s = max(0, int(seconds))
    if s < 2 * MINUTE:
        return f"{s}s"
    if s < 10 * MINUTE:
        return _pair(s, MINUTE, "m", 1, "s")
    if s < 3 * HOUR:
        return f"{s // MINUTE}m"
    if s < 8 * HOUR:
        return _pair(s, HOUR, "h", MINUTE, "m")
    if s < 2 * DAY:
        return f"{s // HOUR}h"
    if s < 8 * DAY:
        return _pair(s, DAY, "d", HOUR, "h")
    if s < 2 * YEAR:
        return f"{s // DAY}d"
    if s < 8 * YEAR:
        return _pair(s, YEAR, "y", DAY, "d")
    return f"{s // YEAR}y"


def _pair(seconds: int, large: int, large_unit: str, small: int, small_unit: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_unit}" + (f"{rest}{small_unit}" if rest else "")
