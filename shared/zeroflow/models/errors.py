"""Why a model cannot be served. Each message is one line that names the file and the fault."""

from zeroflow.errors import Forbidden, InvalidInput


class ModelRefused(InvalidInput):
    """The model cannot be served as it is."""

    reason = "ModelRefused"


class NoModel(ModelRefused):
    """There is nothing at the location, or no model file in the directory."""

    reason = "ModelNotFound"


class FormatNotSupported(ModelRefused):
    """The file is a model of a format that is not served, or of another one than was declared."""

    reason = "FormatNotSupported"


class AmbiguousModel(ModelRefused):
    """The directory holds more than one model."""

    reason = "AmbiguousModel"


class CorruptModel(ModelRefused):
    """The file is damaged, or loading it failed."""

    reason = "ModelLoadFailed"


class NotApproved(CorruptModel):
    """The bytes are not those that were approved."""

    reason = "ModelNotApproved"


class UntrustedTypes(FormatNotSupported):
    """The file holds types that its format does not trust, whoever vouches for it."""

    reason = "UntrustedTypes"


class NotVouched(Forbidden):
    """The file is a pickle - code that runs when it is loaded - and nobody vouched for its bytes."""

    reason = "PickleNotVouched"
