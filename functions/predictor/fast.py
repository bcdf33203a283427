"""The short way for the two requests that matter: V1 predict and V2 infer of this predictor's own model.

Flask's routing, request and response objects cost more than a compiled model (measured: 350 us of 400). A request
takes the short way only when nothing about it is special - its path is exactly the model's, its body has a length
within the limit and no encoding, and it is no event; every other one goes to Flask, which answers the same.

Source: PEP 3333.
"""

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.answers import Answers, encoded
from zeroflow.functions.predictor.errors import STATUS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

JSON, BINARY = "application/json", "application/octet-stream"
QUICK_BYTES = 4096
"""A body of this size holds no more than a thousand numbers."""
REASONS = {400: "400 BAD REQUEST", 404: "404 NOT FOUND", 500: "500 INTERNAL SERVER ERROR", 501: "501 NOT IMPLEMENTED"}
HEAD_LENGTH = "Inference-Header-Content-Length"


class FastPath:
    """A WSGI application before another one."""

    def __init__(self, beyond: "WSGIApplication", answers: Answers, max_body_bytes: int, revision: str | None) -> None:
        name = answers.served.name
        self._beyond, self._answers, self._limit = beyond, answers, max_body_bytes
        self._common = [("zeroflow-revision", revision)] if revision else []
        self._answer: dict[str, Callable[[bytes, WSGIEnvironment], tuple[bytes, int | None]]] = {
            f"/v1/models/{name}:predict": self._predict,
            f"/v2/models/{name}/infer": self._infer,
        }

    def is_quick(self, environ: "WSGIEnvironment") -> bool:
        """Say whether a request is answered sooner than it would be handed to a thread."""
        return (
            self._answers.served.is_quick
            and environ["PATH_INFO"] in self._answer
            and self._is_plain(environ)
            and int(environ["CONTENT_LENGTH"]) <= QUICK_BYTES
        )

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a plain prediction, or let the application behind do it."""
        answer = self._answer.get(environ["PATH_INFO"])
        if answer is None or not self._is_plain(environ):
            return self._beyond(environ, start_response)
        status, head_length = "200 OK", None
        try:
            body, head_length = answer(self._body(environ), environ)
        except ZeroflowError as error:
            status = REASONS[STATUS.get(error.reason, 500)]
            body = encoded({"error": str(error)})
        except Exception as error:
            logger.exception("%s failed", environ["PATH_INFO"])
            status = REASONS[500]
            text = f"internal error ({type(error).__name__}); the predictor's log has the details"
            body = encoded({"error": text})
        headers = [("Content-Type", JSON if head_length is None else BINARY), ("Content-Length", str(len(body)))]
        if head_length is not None:
            headers.append((HEAD_LENGTH, str(head_length)))
        start_response(status, headers + self._common)
        return (body,)

    def _is_plain(self, environ: "WSGIEnvironment") -> bool:
        length = environ.get("CONTENT_LENGTH", "")
        return (
            environ["REQUEST_METHOD"] == "POST"
            and length.isdecimal()
            and int(length) <= self._limit
            and "HTTP_CE_SPECVERSION" not in environ
            and "HTTP_CONTENT_ENCODING" not in environ
            and "HTTP_TRANSFER_ENCODING" not in environ
            and not environ.get("CONTENT_TYPE", "").lower().startswith("application/cloudevents")
        )

    def _body(self, environ: "WSGIEnvironment") -> bytes:
        body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        return body

    def _predict(self, body: bytes, _environ: Any) -> tuple[bytes, int | None]:
        return self._answers.predict(body), None

    def _infer(self, body: bytes, environ: "WSGIEnvironment") -> tuple[bytes, int | None]:
        return self._answers.infer(body, environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH"))
