"""What the registry refuses, beyond the errors that all functions share."""

from zeroflow.errors import InvalidInput, ZeroflowError


class PreconditionFailed(ZeroflowError):
    """The entity is not in the state that the change was made for."""

    reason = "PreconditionFailed"


class MissingField(ZeroflowError):
    """A required field is absent or empty. Official clients match this text."""

    reason = "MissingField"

    def __init__(self, field: str) -> None:
        super().__init__(f"required field '{field}' is zero value.")
        self.field = field


class UnknownField(InvalidInput):
    """The body has a field that its schema does not know. Official clients match this text."""

    def __init__(self, field: str) -> None:
        super().__init__(f'json: unknown field "{field[:255]}"')
        self.field = field
