"""Start over when somebody else wrote in between: how every reconciliation meets a Conflict."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from zeroflow.errors import Conflict

Result = TypeVar("Result")

ATTEMPTS = 5
"""How often a reconciliation is tried with what is there now; then the broker retries its event."""


def starting_over(once: Callable[[], Result]) -> Result:
    """Return what `once` does, which reads everything anew each time; raise Conflict when others keep writing."""
    for _ in range(ATTEMPTS - 1):
        try:
            return once()
        except Conflict:
            continue
    return once()
