"""What became of a model that a predictor with several was to load: loaded, or why not.

The events: types `dev.zeroflow.model.loaded` and `dev.zeroflow.model.failed`, source and subject as an observation's,
id `<pod>.<process>.outcome.<sequence>`. Only predictors of the InferenceService can send them, by their token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.predictions.observation import Told, text

LOADED, FAILED = "dev.zeroflow.model.loaded", "dev.zeroflow.model.failed"


@dataclass(frozen=True)
class Outcome(Told):
    """What one process says of one state of a model."""

    inferenceservice: str
    namespace: str
    revision: str
    pod: str
    process: str
    sequence: int
    model: str
    version: str
    """Of the model's entry (zeroflow.inference.modelconfig)."""
    reason: str | None = None
    """Why it could not be loaded; None when it was."""
    message: str | None = None

    @property
    def event_id(self) -> str:
        """The event's id."""
        return f"{self.pod}.{self.process}.outcome.{self.sequence}"

    @property
    def event_type(self) -> str:
        """The event's type."""
        return LOADED if self.reason is None else FAILED

    def to_data(self) -> dict[str, Any]:
        """Return the event's data."""
        said = {
            "inferenceservice": self.inferenceservice,
            "namespace": self.namespace,
            "revision": self.revision,
            "pod": self.pod,
            "process": self.process,
            "sequence": self.sequence,
            "model": self.model,
            "version": self.version,
        }
        return said if self.reason is None else {**said, "reason": self.reason, "message": self.message or ""}

    @classmethod
    def from_data(cls, data: Any) -> "Outcome":
        """Read an event's data; raise InvalidInput naming the field that is wrong."""
        if not isinstance(data, Mapping):
            raise InvalidInput("what became of a model must be a JSON object")
        names = ("inferenceservice", "namespace", "revision", "pod", "process", "model", "version")
        texts = {name: text(data, name) for name in names}
        if type(data.get("sequence")) is not int:
            raise InvalidInput("sequence must be a number")
        failed = data.get("reason") is not None
        why = {"reason": text(data, "reason") or "Error", "message": text(data, "message")} if failed else {}
        return cls(**texts, sequence=data["sequence"], **why)
