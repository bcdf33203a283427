"""How one attempt at a task ended, as `task.finished` tells it."""

from dataclasses import dataclass, field
from typing import Any

from zeroflow.functions.step.outputs import Outputs


@dataclass
class Outcome:
    """How the task ended."""

    state: str
    error: dict[str, str] | None = None
    exit_code: int | None = None
    started_ms: int = 0
    finished_ms: int = 0
    timings: dict[str, float] = field(default_factory=dict)
    usage: dict[str, float] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)

    def as_json(self) -> dict[str, Any]:
        """Return the part of `task.finished` that tells the outcome."""
        return {
            "state": self.state,
            "error": self.error,
            "exit_code": self.exit_code,
            "started_ms": self.started_ms,
            "finished_ms": self.finished_ms,
            "timings": {name: round(value, 3) for name, value in self.timings.items()},
            "usage": self.usage,
            "outputs": self.outputs.as_json(),
        }
