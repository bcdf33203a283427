"""The Open Inference Protocol over REST: metadata, readiness, inference, and the model repository extension."""

from flask import Flask, Response, request

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.http.fast import BINARY, HEAD_LENGTH, JSON, sendable
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.protocols import v2
from zeroflow.functions.predictor.protocols.documents import parsed
from zeroflow.functions.predictor.routes.edge import about, body, json_answer


def add(app: Flask, predictor: Predictor) -> None:
    """Add the routes."""
    app.add_url_rule("/v2", "v2", lambda: json_answer(v2.server_metadata()))
    app.add_url_rule("/v2/health/live", "v2_live", lambda: json_answer({"live": True}))
    app.add_url_rule("/v2/health/ready", "v2_ready", lambda: json_answer({"ready": True}))
    app.add_url_rule("/v2/models", "v2_list", lambda: json_answer({"models": predictor.repository.names}))

    @app.get("/v2/models/<name>")
    @app.get("/v2/models/<name>/versions/<version>")
    def v2_metadata(name: str, version: str | None = None) -> Response:
        return json_answer(v2.model_metadata(predictor.repository.get(name, version)))

    @app.get("/v2/models/<name>/ready")
    @app.get("/v2/models/<name>/versions/<version>/ready")
    def v2_model_ready(name: str, version: str | None = None) -> Response:
        return json_answer({"name": predictor.repository.get(name, version).name, "ready": True})

    @app.post("/v2/models/<name>/infer")
    @app.post("/v2/models/<name>/versions/<version>/infer")
    def v2_infer(name: str, version: str | None = None) -> Response:
        answers = predictor.answers_of(name, version)
        about(answers, b"")
        asked = body(predictor.settings.max_body_bytes)
        about(answers, asked)
        own: dict[str, str] = {}
        headers = {key.lower(): value for key, value in request.headers.items()}
        answer, head_length = answers.infer(asked, request.headers.get(HEAD_LENGTH), headers, own)
        more = sendable(own)
        more.pop("content-type", None)
        if head_length is None:
            return Response(answer, content_type=JSON, headers=more)
        return Response(answer, content_type=BINARY, headers={**more, HEAD_LENGTH: str(head_length)})

    _add_repository(app, predictor)


def _add_repository(app: Flask, predictor: Predictor) -> None:
    @app.post("/v2/repository/index")
    @app.post("/v2/repository/<repository>/index")
    def v2_index(repository: str = "") -> Response:
        asked = body(predictor.settings.max_body_bytes)
        options = parsed(asked) if asked else {}
        if not isinstance(options, dict) or not isinstance(options.get("ready", False), bool):
            raise BadRequest('the body must be empty or {"ready": true|false}')
        return json_answer(predictor.repository.index(options.get("ready", False)))

    @app.post("/v2/repository/models/<name>/load")
    def v2_load(name: str) -> Response:
        predictor.load(name)
        return json_answer({"name": name, "load": True})

    @app.post("/v2/repository/models/<name>/unload")
    def v2_unload(name: str) -> Response:
        predictor.unload(name)
        return json_answer({"name": name, "unload": True})
