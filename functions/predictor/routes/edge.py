"""Bodies in, JSON out, errors as `{"error": TEXT}`, and one word to the witness for each prediction."""

import logging
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from zeroflow.errors import ZeroflowError, unexpected
from zeroflow.functions.predictor.answers import Answers, encoded
from zeroflow.functions.predictor.errors import BadRequest, TooLarge, UnsupportedEncoding
from zeroflow.functions.predictor.http.fast import JSON, REQUEST_ID, RETRY_AFTER, REVISION
from zeroflow.functions.predictor.predictor import Predictor, status_of
from zeroflow.functions.predictor.telling.witness import request_id

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 20
DRAINED_TIMES = 4
"""A body of up to so many times the limit is read to its end: who still sends when the connection closes may never
see the answer."""
WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


def body(limit: int) -> bytes:
    """Return the request's body, unpacked; raise TooLarge, UnsupportedEncoding or BadRequest."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", *WINDOW_BITS):
        raise UnsupportedEncoding(f"content-encoding {encoding} is not supported; send gzip, deflate or plain bytes")
    worth_reading = DRAINED_TIMES * limit
    read, received = bytearray(), 0
    while (request.content_length or 0) <= worth_reading and received <= worth_reading:
        chunk = request.stream.read(CHUNK_BYTES)
        if not chunk:
            break
        received += len(chunk)
        if received <= limit:
            read += chunk
    if max(received, request.content_length or 0) > limit:
        raise RequestEntityTooLarge(f"the body is larger than {limit} bytes")
    return bytes(read) if encoding in ("", "identity") else unpacked(bytes(read), encoding, limit)


def unpacked(packed: bytes, encoding: str, limit: int) -> bytes:
    """Decompress, never to more than the limit; raise TooLarge or BadRequest."""
    for bits in (WINDOW_BITS[encoding], -15) if encoding == "deflate" else (WINDOW_BITS[encoding],):
        unpacker = zlib.decompressobj(bits)  # some clients' deflate has no zlib header
        try:
            plain = unpacker.decompress(packed, limit + 1)
        except zlib.error:
            continue
        if len(plain) > limit:
            raise TooLarge(f"the unpacked body is larger than {limit} bytes")
        if not unpacker.eof:
            raise BadRequest(f"the {encoding} body ends too early")
        return plain
    raise BadRequest(f"the body is not {encoding}, as content-encoding says")


def json_answer(answer: Any, status: int = 200) -> Response:
    """Answer with JSON."""
    return Response(encoded(answer), status, content_type=JSON)


def about(answers: Answers, asked: bytes) -> None:
    """Note that this request is a prediction of a model, so that its answer is told to the witness."""
    g.answers, g.asked = answers, asked


def install(app: Flask, predictor: Predictor) -> None:
    """Give an application the errors, headers and words to the witness that every answer has."""

    @app.before_request
    def begin() -> None:
        g.began, g.failed, g.answers, g.request_id = perf_counter(), False, None, request_id(request.environ)

    @app.after_request
    def sign(response: Response) -> Response:
        response.headers[REQUEST_ID] = g.request_id
        if revision := predictor.settings.revision:
            response.headers[REVISION] = revision
        if response.status_code == 503:
            response.headers[RETRY_AFTER[0]] = RETRY_AFTER[1]
        if g.answers is None:
            return response
        tell = partial(_tell, predictor, g.answers, request.environ, g.began, g.request_id, g.asked, g.failed)
        if response.is_streamed:
            response.response = _told_at_its_end(response.response, partial(tell, response.status_code))
        else:
            tell(response.status_code, response.get_data())
        return response

    app.register_error_handler(ZeroflowError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)


def _tell(
    predictor: Predictor,
    answers: Answers,
    environ: Any,
    began: float,
    asked_id: str,
    asked: bytes,
    failed: bool,
    status: int,
    answer: bytes,
) -> None:
    if status >= 400:
        predictor.metrics.failed(answers.served.name, status)
    predictor.witness.answered(answers.served, environ, began, asked_id, status, asked, answer, failed)


def _told_at_its_end(parts: Any, tell: Callable[[bytes], None]) -> Iterator[bytes]:
    said = bytearray()
    try:
        for part in parts:
            said += part
            yield part
    finally:
        tell(bytes(said))


def _answer_error(error: ZeroflowError) -> Response:
    g.failed = error.reason == "ModelFailed"
    return json_answer({"error": str(error)}, status_of(error))


def _answer_http_error(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown paths, other methods, bodies that are too large."""
    known = isinstance(error, RequestEntityTooLarge) and error.description
    response = json_answer({"error": known or f"{error.name}: {request.method} {request.path}"}, error.code or 500)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    if isinstance(error, RequestEntityTooLarge):  # what is left of the body is not worth reading
        response.headers["connection"] = "close"
    return response


def _answer_unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return json_answer({"error": unexpected(error)}, 500)
