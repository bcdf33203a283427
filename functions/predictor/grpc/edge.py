"""gRPC as a WSGI application: length-prefixed messages in the body, the status in headers that become trailers.

The worker sends the headers `grpc-status` and `grpc-message` of such an answer after its body. Unary calls only, which
is all that the protocol has. Compressed requests (gzip, deflate) are read, answers are sent plain.

Source: gRPC over HTTP/2 (doc/PROTOCOL-HTTP2.md), status codes.
"""

import logging
from collections.abc import Iterable
from time import perf_counter
from typing import TYPE_CHECKING
from urllib.parse import quote

from google.protobuf.message import DecodeError

from zeroflow.errors import ZeroflowError, unexpected
from zeroflow.functions.predictor.answers import Answers
from zeroflow.functions.predictor.errors import BadRequest, UnsupportedEncoding
from zeroflow.functions.predictor.grpc.service import Service
from zeroflow.functions.predictor.http.fast import headers_of
from zeroflow.functions.predictor.predictor import Predictor, status_of
from zeroflow.functions.predictor.routes.edge import WINDOW_BITS, unpacked
from zeroflow.functions.predictor.telling.witness import request_id

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

logger = logging.getLogger(__name__)

PREFIX_BYTES = 5
OK, INVALID_ARGUMENT, NOT_FOUND, PERMISSION_DENIED, RESOURCE_EXHAUSTED = 0, 3, 5, 7, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14
CODES = {
    400: INVALID_ARGUMENT,
    403: PERMISSION_DENIED,
    404: NOT_FOUND,
    413: RESOURCE_EXHAUSTED,
    415: UNIMPLEMENTED,
    501: UNIMPLEMENTED,
    503: UNAVAILABLE,
}


class GrpcEdge:
    """A WSGI application for the paths below PATH."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor, self._limit = predictor, predictor.settings.max_body_bytes

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer one call."""
        began, body, message, failed = perf_counter(), b"", b"", False
        asked: list[Answers] = []
        try:
            name = environ["PATH_INFO"].rpartition("/")[2]
            found = Service(self._predictor, asked.append, headers_of(environ)).method(name)
            if found is None:
                return _refused(start_response, UNIMPLEMENTED, f"there is no method {name}")
            kind, answer = found
            message = self._message(environ)
            try:
                request = kind.FromString(message)  # type: ignore[attr-defined]
            except DecodeError as error:
                raise BadRequest(f"the message is no {kind.__name__}") from error
            body = answer(request).SerializeToString()
            status, said = 200, ""
        except ZeroflowError as error:
            status, said, failed = status_of(error), str(error), error.reason == "ModelFailed"
        except Exception as error:
            logger.exception("%s failed", environ["PATH_INFO"])
            status, said = 500, unexpected(error)
        self._tell(asked, environ, began, status, message, body or said.encode(), failed)
        if status != 200:
            return _refused(start_response, CODES.get(status, INTERNAL), said)
        start_response("200 OK", [("content-type", "application/grpc"), ("grpc-status", "0")])
        return (b"\0" + len(body).to_bytes(4, "big") + body,)

    def _message(self, environ: "WSGIEnvironment") -> bytes:
        """Return the one message of a unary call."""
        body: bytes = environ["wsgi.input"].read()
        if len(body) < PREFIX_BYTES or len(body) != PREFIX_BYTES + int.from_bytes(body[1:PREFIX_BYTES], "big"):
            raise BadRequest("the call has not exactly one whole message")
        if not body[0]:
            return body[PREFIX_BYTES:]
        encoding = environ.get("HTTP_GRPC_ENCODING", "")
        if encoding not in WINDOW_BITS:
            raise UnsupportedEncoding(f"grpc-encoding {encoding} is not supported; send gzip, deflate or identity")
        return unpacked(body[PREFIX_BYTES:], encoding, self._limit)

    def _tell(
        self,
        asked: list[Answers],
        environ: "WSGIEnvironment",
        began: float,
        status: int,
        request: bytes,
        answer: bytes,
        failed: bool,
    ) -> None:
        for answers in asked:
            if status >= 400:
                self._predictor.metrics.failed(answers.served.name, status)
            self._predictor.witness.answered(
                answers.served, environ, began, request_id(environ), status, request, answer, failed
            )


def _refused(start_response: "StartResponse", code: int, said: str) -> Iterable[bytes]:
    message = quote(said[:1000], safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
    start_response(
        "200 OK",
        [("content-type", "application/grpc"), ("grpc-status", str(code)), ("grpc-message", message)],
    )
    return ()
