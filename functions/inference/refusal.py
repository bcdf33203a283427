"""Why an InferenceService cannot be served as it is: what ends up in its conditions and its modelStatus."""

from zeroflow.errors import InvalidInput


class Refused(InvalidInput):
    """The InferenceService cannot be served as it is declared."""

    def __init__(
        self, reason: str, message: str, failure: str | None = "InvalidPredictorSpec", passing: bool = False
    ) -> None:
        super().__init__(message)
        self.condition_reason = reason
        self.failure = failure
        """KServe's word for modelStatus.lastFailureInfo.reason; None when nothing failed."""
        self.passing = passing
        """Whether trying again later may succeed, with nothing changed."""

    @classmethod
    def field(cls, field: str, fault: str) -> "Refused":
        """Return the refusal of one field."""
        return cls("UnsupportedField" if "not supported" in fault else "InvalidField", f"{field} {fault}")

    @classmethod
    def waiting(cls, registered: str) -> "Refused":
        """Return that there is no version of the registered model to serve yet."""
        return cls("AwaitingModel", f"registered model {registered!r} has no version yet", failure=None)
