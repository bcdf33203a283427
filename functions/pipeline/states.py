"""States of runs and tasks (RuntimeState of KFP's run.proto) and times as the API writes them."""

from datetime import UTC, datetime

from zeroflow.metadata.pipelines import Run

FINAL = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")


def note_state(run: Run, state: str, at_ms: int, error: str | None = None) -> None:
    """Move a run to a state and add it to its history."""
    entry = {"state": state, "update_ms": at_ms, **({"error": error} if error else {})}
    run.state, run.state_history = state, [*run.state_history, entry]


def rfc3339(at_ms: int) -> str:
    """Write a time as RFC 3339 in UTC with milliseconds."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
