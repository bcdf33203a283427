"""What a pipeline of the corpus is expected to do."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Expected:
    """How a run of a pipeline ends."""

    pipeline: Any
    state: str
    """SUCCEEDED, FAILED, or REFUSED: the API does not take it."""
    outputs: dict[str, Any] = field(default_factory=dict)
    """Task -> its output parameters; the pipeline's own under an empty name."""
    arguments: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    error: str = ""
    """A part of the run's error, or of the refusal."""


CORPUS: dict[str, Expected] = {}


def expect(state: str = "SUCCEEDED", **expected: Any) -> Callable[[Any], Any]:
    """Add a pipeline to the corpus."""

    def add(pipeline: Any) -> Any:
        assert pipeline.name not in CORPUS, pipeline.name
        CORPUS[pipeline.name] = Expected(pipeline, state, **expected)
        return pipeline

    return add
