"""The short way for what matters: V1 predict and V2 infer of a served model, and health.

Flask's routing, request and response objects cost more than a compiled model (measured: 350 us of 400). A request
takes the short way only when nothing about it is special - its path is exactly a model's, its body has a length
within the limit and no encoding, and it is no event; every other one goes to Flask, which answers the same. Health is
answered here too, so that it waits for no thread.

Source: PEP 3333.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from time import perf_counter
from typing import TYPE_CHECKING

from zeroflow.errors import unexpected
from zeroflow.functions.predictor.answers import Answers, encoded
from zeroflow.functions.predictor.predictor import Predictor, status_of
from zeroflow.functions.predictor.telling.witness import request_id
from zeroflow.models.python import PythonModel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

logger = logging.getLogger(__name__)

JSON, BINARY = "application/json", "application/octet-stream"
QUICK_BYTES = 16 << 10
"""A body of this size holds no more than some thousand numbers: a millisecond or two for a quick model."""
HEAD_LENGTH = "Inference-Header-Content-Length"
REVISION = "zeroflow-revision"
REQUEST_ID = "x-request-id"
ON_LOOP = "zeroflow.on-loop"
OWN_HEADERS = "zeroflow.own-headers"
"""Where a model's class leaves headers for its answer."""
TOKEN = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]{1,128}")
OURS = re.compile(
    r"(zeroflow|transfer-|upgrade|trailer|grpc-|inference-header-).*|x-request-id|connection|keep-alive|content-length|date"
)
"""Headers that the server answers for, whatever a model says."""
GRPC, GRPC_TYPE = "/inference.GRPCInferenceService/", "application/grpc"
HEALTH = {
    "/": b'{"status":"alive"}',
    "/v2/health/live": b'{"live":true}',
    "/v2/health/ready": b'{"ready":true}',
}
REASONS = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
RETRY_AFTER = ("Retry-After", "1")

Answer = Callable[[Answers, bytes, "WSGIEnvironment"], tuple[bytes, int | None]]


class FastPath:
    """A WSGI application before another one."""

    def __init__(self, beyond: "WSGIApplication", predictor: Predictor) -> None:
        self._beyond, self._predictor = beyond, predictor
        self._limit = predictor.settings.max_body_bytes
        revision = predictor.settings.revision
        self._common = [(REVISION, revision)] if revision else []
        self._routes: dict[str, tuple[Answers, Answer]] = {}
        self._calls: WSGIApplication | None = None
        predictor.repository.changed = self.refresh
        self.refresh()

    def refresh(self) -> None:
        """Route to the models that are served now."""
        self._predictor.refresh()
        routes: dict[str, tuple[Answers, Answer]] = {}
        for name, answers in self._predictor.answers.items():
            routes[f"/v1/models/{name}:predict"] = answers, _predict
            routes[f"/v2/models/{name}/infer"] = answers, _infer
            if version := answers.served.version:
                routes[f"/v2/models/{name}/versions/{version}/infer"] = answers, _infer
        self._routes = routes

    def is_quick(self, environ: "WSGIEnvironment") -> bool:
        """Say whether a request is answered sooner than it would be handed to a thread."""
        path = environ["PATH_INFO"]
        route = self._routes.get(path)
        if route is None:
            if path.startswith(GRPC):
                return self._is_quick_call(path, environ)
            return environ["REQUEST_METHOD"] == "GET" and path in HEALTH
        if not self._is_plain(environ):
            return False
        answers, size = route[0], int(environ["CONTENT_LENGTH"])
        quick = (answers.served.is_quick and size <= QUICK_BYTES) or answers.pace.is_quick(size)
        environ[ON_LOOP] = quick
        return quick

    def _is_quick_call(self, path: str, environ: "WSGIEnvironment") -> bool:
        """Say the same of a gRPC call, whose model is named in its message."""
        if not path.endswith("/ModelInfer"):
            return path.endswith(("/ServerLive", "/ServerReady", "/ModelReady"))
        if self._predictor.trained is not None and self._predictor.trained.is_pending:
            return False  # it may have to wait for its model
        length = environ.get("CONTENT_LENGTH", "")  # HTTP/1.1, which gRPC does not speak, may come without
        quick = all(answers.served.is_quick for answers in self._predictor.answers.values())
        return quick and length.isdecimal() and int(length) <= QUICK_BYTES

    def busy(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Refuse a request that would wait too long; the worker calls this instead of the application."""
        said = "too many requests are waiting; try again in a second"
        if environ["PATH_INFO"].startswith(GRPC):
            start_response(REASONS[200], [("content-type", GRPC_TYPE), ("grpc-status", "14"), ("grpc-message", said)])
            return ()
        body = encoded({"error": said})
        start_response(REASONS[503], [*_described(body), RETRY_AFTER, *self._common])
        if (route := self._routes.get(environ["PATH_INFO"])) is not None:
            self._tell(route[0], environ, perf_counter(), request_id(environ), 503, b"", body)
        return (body,)

    def begin(self) -> None:
        """Prepare for requests; the worker calls this once, before the first one."""
        self._predictor.join()

    def close(self) -> None:
        """Send what waits to be sent; called once, when the process ends."""
        self._predictor.close()

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        """Answer a plain prediction, or let the application behind do it."""
        route = self._routes.get(environ["PATH_INFO"])
        if route is None or not (ON_LOOP in environ or self._is_plain(environ)):  # it has been looked at already
            if environ["PATH_INFO"].startswith(GRPC) and environ.get("CONTENT_TYPE", "").startswith(GRPC_TYPE):
                return self._grpc()(environ, start_response)
            alive = HEALTH.get(environ["PATH_INFO"])
            if alive is None or environ["REQUEST_METHOD"] != "GET":
                return self._beyond(environ, start_response)
            start_response(REASONS[200], _described(alive) + self._common)
            return (alive,)
        answers, answer = route
        began, asked, head_length, failed = perf_counter(), request_id(environ), None, False
        request: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        try:
            body, head_length = answer(answers, request, environ)
            status = 200
        except Exception as error:
            status, body, failed = refused(error, environ)
        kind, own = JSON if head_length is None else BINARY, {}
        if status == 200 and environ.get(OWN_HEADERS):
            own = sendable(environ[OWN_HEADERS])
            kind = own.pop("content-type", kind) if route[1] is _predict else kind
        headers = _described(body, kind)
        if head_length is not None:
            headers.append((HEAD_LENGTH, str(head_length)))
        if status == 503:
            headers.append(RETRY_AFTER)
        start_response(REASONS[status], [*headers, (REQUEST_ID, asked), *self._common, *own.items()])
        if status == 200 and answers.may_be_quick:
            answers.pace.took(len(request), perf_counter() - began, environ.get(ON_LOOP, False))
        self._tell(answers, environ, began, asked, status, request, body, failed)
        return (body,)

    def _grpc(self) -> "WSGIApplication":
        """Return what answers gRPC; it is imported when the first call comes."""
        if self._calls is None:
            from zeroflow.functions.predictor.grpc.edge import GrpcEdge

            self._calls = GrpcEdge(self._predictor)
        return self._calls

    def _tell(
        self,
        answers: Answers,
        environ: "WSGIEnvironment",
        began: float,
        asked: str,
        status: int,
        request: bytes,
        body: bytes,
        failed: bool = False,
    ) -> None:
        if status >= 400:
            self._predictor.metrics.failed(answers.served.name, status)
        self._predictor.witness.answered(answers.served, environ, began, asked, status, request, body, failed)

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


def refused(error: Exception, environ: "WSGIEnvironment") -> tuple[int, bytes, bool]:
    """Return status and body for an error, and whether the model failed."""
    status = status_of(error)
    if status != 500 or hasattr(error, "reason"):
        return status, encoded({"error": str(error)}), getattr(error, "reason", "") == "ModelFailed"
    logger.error("%s failed", environ["PATH_INFO"], exc_info=error)
    return 500, encoded({"error": unexpected(error)}), False


def headers_of(environ: "WSGIEnvironment") -> dict[str, str]:
    """Return the request's headers, names in lower case."""
    found = {key[5:].lower().replace("_", "-"): value for key, value in environ.items() if key.startswith("HTTP_")}
    return found | {"content-type": environ.get("CONTENT_TYPE", "")}


def sendable(headers: Mapping[str, object]) -> dict[str, str]:
    """Return those headers of a model's own that may go out, names in lower case: whole ones that nobody else sets."""
    found = {}
    for name, value in headers.items():
        low, said = str(name).lower(), str(value)
        if TOKEN.fullmatch(low) and not OURS.fullmatch(low) and said.isprintable() and said.isascii():
            found[low] = said
    return found


def _described(body: bytes, content_type: str = JSON) -> list[tuple[str, str]]:
    return [("Content-Type", content_type), ("Content-Length", str(len(body)))]


def _predict(answers: Answers, body: bytes, environ: "WSGIEnvironment") -> tuple[bytes, int | None]:
    if isinstance(answers.served.model, PythonModel):
        own = environ[OWN_HEADERS] = dict[str, str]()
        return answers.predict(body, headers_of(environ), own), None
    return answers.predict(body), None


def _infer(answers: Answers, body: bytes, environ: "WSGIEnvironment") -> tuple[bytes, int | None]:
    head_length = environ.get("HTTP_INFERENCE_HEADER_CONTENT_LENGTH")
    if isinstance(answers.served.model, PythonModel):
        own = environ[OWN_HEADERS] = dict[str, str]()
        return answers.infer(body, head_length, headers_of(environ), own)
    return answers.infer(body, head_length)
