"""What can be wrong with a request. The handler turns reasons into status codes; messages go to the client."""

from zeroflow.errors import InvalidInput, NotFound, Unavailable, ZeroflowError

STATUS = {
    "InvalidInput": 400,
    "NotFound": 404,
    "NotImplemented": 501,
    "Unavailable": 503,
    "TooLarge": 413,
    "UnsupportedMediaType": 415,
    # why a model cannot be loaded, for who asks to load it
    "ModelRefused": 400,
    "FormatNotSupported": 400,
    "AmbiguousModel": 400,
    "ModelLoadFailed": 400,
    "PickleNotVouched": 403,
    "ModelNotApproved": 403,
    "UntrustedTypes": 403,
    "ModelNotFound": 404,
    "ModelFailed": 500,
}
"""The HTTP edge's code for each reason; 500 for any other."""


class BadRequest(InvalidInput):
    """The request cannot be answered as it is; the message names the place in it."""


class UnknownModel(NotFound):
    """This predictor serves another model, or another version of it."""


class NotImplementedHere(ZeroflowError):
    """The protocol knows this, this predictor does not."""

    reason = "NotImplemented"


class ModelFailed(ZeroflowError):
    """The model raised what no client can be blamed for."""

    reason = "ModelFailed"


class NoRoom(Unavailable):
    """There is no memory, this processor's or a GPU's, for what the request asks."""


class AnotherProcess(ZeroflowError):
    """The model was loaded in a process of which this one is a fork, and does not survive that."""

    reason = "ModelLoadFailed"


class ModelNotReady(Unavailable):
    """The model is known, but not loaded now."""


class SomeDoNotFollow(Unavailable):
    """A repository call was heeded by the process that got it, and not by all that serve the same revision."""


class TooLarge(ZeroflowError):
    """The body is larger than this predictor takes."""

    reason = "TooLarge"


class UnsupportedEncoding(ZeroflowError):
    """The body is compressed in a way that is not known here."""

    reason = "UnsupportedMediaType"
