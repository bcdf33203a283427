"""The time limits of a revision: for the whole request, until the answer begins, and between two parts of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

TIMED_OUT = "activator request timeout"

_NO_LIMIT: AbstractAsyncContextManager[None] = nullcontext()


@dataclass(frozen=True)
class Limits:
    """Seconds; 0 = none."""

    total_s: float
    response_start_s: float = 0.0
    idle_s: float = 0.0

    @cached_property
    def until_head_s(self) -> float | None:
        """How long the head of the answer may take: until it nothing is heard of the function either."""
        given = [limit for limit in (self.response_start_s, self.idle_s) if limit]
        return min(given) if given else None


def limits_of(spec: Mapping[str, Any]) -> Limits:
    """Read the limits from a revision's spec."""
    return Limits(
        total_s=float(spec.get("timeoutSeconds") or 300),
        response_start_s=float(spec.get("responseStartTimeoutSeconds") or 0),
        idle_s=float(spec.get("idleTimeoutSeconds") or 0),
    )


def within(limit_s: float | None) -> AbstractAsyncContextManager[object]:
    """Return a context that ends in TimeoutError after the limit; without one it costs next to nothing."""
    return asyncio.timeout(limit_s) if limit_s else _NO_LIMIT
