"""What one predictor process predicted, by request: what later labels are joined with, on the platform's own word.

The event: type `dev.zeroflow.predictions.recorded`, source and subject as an observation's, id
`<pod>.<process>.recorded.<sequence>`. Only predictors of the InferenceService can send it, by their token
(zeroflow.predictions.tokens). Sent by revisions whose rollouts are decided by `quality`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.predictions.observation import Told, text

RECORDED = "dev.zeroflow.predictions.recorded"
MAX_ROWS = 1000
"""Of one request; what was predicted in a larger one is not recorded."""


@dataclass(frozen=True)
class Recorded(Told):
    """The predictions of one process in one window of time."""

    inferenceservice: str
    namespace: str
    revision: str
    pod: str
    process: str
    sequence: int
    predictions: tuple[tuple[str, tuple[Any, ...]], ...]
    """Request ids, each with what was predicted for its rows, in order."""

    @property
    def event_id(self) -> str:
        """The event's id."""
        return f"{self.pod}.{self.process}.recorded.{self.sequence}"

    @property
    def event_type(self) -> str:
        """The event's type."""
        return RECORDED

    def to_data(self) -> dict[str, Any]:
        """Return the event's data."""
        return {
            "inferenceservice": self.inferenceservice,
            "namespace": self.namespace,
            "revision": self.revision,
            "pod": self.pod,
            "process": self.process,
            "sequence": self.sequence,
            "predictions": [[request_id, list(rows)] for request_id, rows in self.predictions],
        }

    @classmethod
    def from_data(cls, data: Any) -> "Recorded":
        """Read an event's data; raise InvalidInput naming the field that is wrong."""
        if not isinstance(data, Mapping):
            raise InvalidInput("recorded predictions must be a JSON object")
        texts = {name: text(data, name) for name in ("inferenceservice", "namespace", "revision", "pod", "process")}
        sequence, given = data.get("sequence"), data.get("predictions")
        if type(sequence) is not int or not isinstance(given, list):
            raise InvalidInput("sequence must be a number, predictions a list")
        for at, each in enumerate(given):
            good = isinstance(each, list) and len(each) == 2 and isinstance(each[0], str) and isinstance(each[1], list)
            if not good or len(each[1]) > MAX_ROWS:
                raise InvalidInput(f"predictions[{at}] must be a request's id and a list of at most {MAX_ROWS} rows")
        read = tuple((each[0], tuple(each[1])) for each in given)
        return cls(**texts, sequence=sequence, predictions=read)


def rows_of(answer: Any) -> list[Any] | None:
    """Return what an answer predicts for each row; None when that cannot be told from it.

    V1: `predictions`. V2: the data of the first output, a number a row, or a list where a row has several.
    """
    if not isinstance(answer, Mapping):
        return None
    found = answer.get("predictions")
    if found is None and isinstance(outputs := answer.get("outputs"), list) and outputs:
        found = _rows(outputs[0])
    return found if isinstance(found, list) and 0 < len(found) <= MAX_ROWS else None


def _rows(output: Any) -> list[Any] | None:
    data, shape = output.get("data"), output.get("shape")
    if not isinstance(data, list) or not isinstance(shape, list) or not shape or not shape[0]:
        return None
    width, left = divmod(len(data), shape[0])
    if left or not width:
        return None
    return data if width == 1 else [data[at : at + width] for at in range(0, len(data), width)]
