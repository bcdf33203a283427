"""States of runs and tasks (RuntimeState of KFP's run.proto) and times as the API writes them."""

from datetime import UTC, datetime
from functools import lru_cache

from zeroflow.metadata.pipelines import Run

FINAL = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


def note_state(run: Run, state: str, at_ms: int, error: str | None = None) -> None:
    """Move a run to a state and add it to its history."""
    entry = {"state": state, "update_ms": at_ms, **({"error": error} if error else {})}
    run.state, run.state_history = state, [*run.state_history, entry]


def rfc3339(at_ms: int) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds."""
    return f"{_to_the_second(at_ms // 1000)}.{at_ms % 1000:03d}Z"


@lru_cache(maxsize=4096)
def _to_the_second(at_s: int) -> str:
    """The answer about a run of 10,000 steps has 60,000 times, of a few hundred seconds."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S")
