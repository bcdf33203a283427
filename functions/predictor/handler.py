"""The predictor's HTTP edge: KServe's V1 and V2 REST routes over one model.

The model is loaded while the worker starts, before it accepts a request: whoever is answered, is answered by the
model. When it cannot be loaded, the process says why in one line on standard error (and in Kubernetes' termination
message) and ends with code 3. A client's mistake is a 4xx with `{"error": TEXT}`; the connection stays usable. Bodies
are read as JSON whatever their content type says. Every answer carries `zeroflow-revision`.

Served by `gunicorn zeroflow.functions.predictor.handler:create_app()`, which listens on PORT.
"""

import logging
import os
import sys
from typing import Any, NoReturn

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor import cloudevents, v2
from zeroflow.functions.predictor.answers import Answers, encoded
from zeroflow.functions.predictor.errors import STATUS, BadRequest, NotImplementedHere
from zeroflow.functions.predictor.fast import BINARY, HEAD_LENGTH, FastPath
from zeroflow.functions.predictor.metrics import Metrics
from zeroflow.functions.predictor.served import Served, load
from zeroflow.functions.predictor.settings import PredictorSettings

logger = logging.getLogger(__name__)

EXIT_NO_MODEL = 3
"""gunicorn's own code for a worker that did not boot: its arbiter stops instead of starting another."""

CHUNK_BYTES = 1 << 20
DRAINED_TIMES = 4
"""A body of up to so many times the limit is read to its end: who still sends when the connection closes may never
see the answer."""

TERMINATION_LOG = "/dev/termination-log"


def create_app(settings: PredictorSettings | None = None, served: Served | None = None) -> Flask:
    """Load the model and return the WSGI application; end the process when it cannot be loaded."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = settings or PredictorSettings.from_environment()
        served = served or load(settings)
    except ZeroflowError as error:
        _give_up(settings, error)
    app = Flask("zeroflow.functions.predictor", static_folder=None)
    app.config["BODY_BYTES"] = settings.max_body_bytes
    answers = Answers(served, Metrics(served.name))
    _add_health(app, answers.metrics)
    _add_v1(app, answers)
    _add_v2(app, answers)
    app.register_error_handler(ZeroflowError, _answer_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_unexpected)
    _sign_answers(app, settings)
    app.wsgi_app = FastPath(app.wsgi_app, answers, settings.max_body_bytes, settings.revision)  # type: ignore[method-assign]
    return app


def _add_health(app: Flask, metrics: Metrics) -> None:
    @app.get("/metrics")
    def exposition() -> Response:
        text, content_type = metrics.exposition()
        return Response(text, content_type=content_type)

    for path in ("/health/liveness", "/health/readiness"):
        app.add_url_rule(path, path, lambda: Response("OK", mimetype="text/plain"))
    app.add_url_rule("/", "alive", lambda: _json({"status": "alive"}))


def _add_v1(app: Flask, answers: Answers) -> None:
    served = answers.served

    @app.get("/v1/models")
    def v1_list() -> Response:
        return _json({"models": [served.name]})

    @app.get("/v1/models/<name>")
    def v1_ready(name: str) -> Response:
        served.check_name(name)
        return _json({"name": served.name, "ready": True})

    @app.post("/v1/models/<name>:predict")
    def v1_predict(name: str) -> Response:
        served.check_name(name)
        body = _body()
        headers = {key.lower(): value for key, value in request.headers.items()}
        if not cloudevents.is_event(headers):
            return Response(answers.predict(body), mimetype="application/json")
        answer = answers.predict_parsed(cloudevents.data_of(headers, body))
        event = cloudevents.answer(headers, served.name, answer)
        return Response(event.body, 200, headers=dict(event.headers))

    @app.post("/v1/models/<name>:explain")
    def v1_explain(name: str) -> Response:
        served.check_name(name)
        raise NotImplementedHere("Could not find explainer_host.")


def _add_v2(app: Flask, answers: Answers) -> None:
    served = answers.served
    app.add_url_rule("/v2", "v2", lambda: _json(v2.server_metadata()))
    app.add_url_rule("/v2/health/live", "v2_live", lambda: _json({"live": True}))
    app.add_url_rule("/v2/health/ready", "v2_ready", lambda: _json({"ready": True}))
    app.add_url_rule("/v2/models", "v2_list", lambda: _json({"models": [served.name]}))

    @app.get("/v2/models/<name>")
    @app.get("/v2/models/<name>/versions/<version>")
    def v2_metadata(name: str, version: str | None = None) -> Response:
        served.check_name(name, version)
        return _json(v2.model_metadata(served))

    @app.get("/v2/models/<name>/ready")
    @app.get("/v2/models/<name>/versions/<version>/ready")
    def v2_model_ready(name: str, version: str | None = None) -> Response:
        served.check_name(name, version)
        return _json({"name": served.name, "ready": True})

    @app.post("/v2/models/<name>/infer")
    @app.post("/v2/models/<name>/versions/<version>/infer")
    def v2_infer(name: str, version: str | None = None) -> Response:
        served.check_name(name, version)
        answer, head_length = answers.infer(_body(), request.headers.get(HEAD_LENGTH))
        if head_length is None:
            return Response(answer, mimetype="application/json")
        return Response(answer, content_type=BINARY, headers={HEAD_LENGTH: str(head_length)})

    for verb in ("index", "models/<name>/load", "models/<name>/unload"):
        app.add_url_rule(f"/v2/repository/{verb}", f"v2_{verb}", _no_repository, methods=["POST"])


def _no_repository(name: str = "") -> Response:
    raise NotImplementedHere(
        "the model repository extension is not supported: a predictor serves the one model of its revision"
    )


def _body() -> bytes:
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding != "identity":
        raise BadRequest(f"content-encoding {encoding} is not supported; send the body uncompressed")
    limit = current_app.config["BODY_BYTES"]
    worth_reading = DRAINED_TIMES * limit
    body, received = bytearray(), 0
    while (request.content_length or 0) <= worth_reading and received <= worth_reading:
        chunk = request.stream.read(CHUNK_BYTES)
        if not chunk:
            break
        received += len(chunk)
        if received <= limit:
            body += chunk
    if max(received, request.content_length or 0) > limit:
        raise RequestEntityTooLarge(f"the body is larger than {limit} bytes")
    return bytes(body)


def _json(answer: Any, status: int = 200) -> Response:
    return Response(encoded(answer), status, mimetype="application/json")


def _sign_answers(app: Flask, settings: PredictorSettings) -> None:
    if settings.revision is None:
        return
    revision = settings.revision

    @app.after_request
    def sign(response: Response) -> Response:
        response.headers["zeroflow-revision"] = revision
        return response


def _answer_error(error: ZeroflowError) -> Response:
    return _json({"error": str(error)}, STATUS.get(error.reason, 500))


def _answer_http_error(error: HTTPException) -> Response:
    """Answer what Flask itself refuses: unknown paths, other methods, bodies that are too large."""
    known = isinstance(error, RequestEntityTooLarge) and error.description
    response = _json({"error": known or f"{error.name}: {request.method} {request.path}"}, error.code or 500)
    for name, value in error.get_headers():
        if name.lower() == "allow":
            response.headers[name] = value
    if isinstance(error, RequestEntityTooLarge):  # what is left of the body is not worth reading
        response.headers["connection"] = "close"
    return response


def _answer_unexpected(error: Exception) -> Response:
    logger.error("%s %s failed", request.method, request.path, exc_info=error)
    return _json({"error": f"internal error ({type(error).__name__}); the predictor's log has the details"}, 500)


def _give_up(settings: PredictorSettings | None, error: ZeroflowError) -> NoReturn:
    name = settings.model_name if settings else os.environ.get("MODEL_NAME", "?")
    line = f"model {name} cannot be served: {error.reason}: {error}"
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - the one line that explains why this process ends
    try:
        with open(TERMINATION_LOG, "r+") as file:  # exists in a Kubernetes container only
            file.write(line)
    except OSError:
        pass
    raise SystemExit(EXIT_NO_MODEL)
