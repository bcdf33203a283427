"""KServe's protocol V1, with CloudEvents in and out."""

from flask import Flask, Response, g, request
from werkzeug.exceptions import MethodNotAllowed

from zeroflow.functions.predictor.answers import written
from zeroflow.functions.predictor.errors import ModelNotReady, NotImplementedHere
from zeroflow.functions.predictor.http.fast import JSON, sendable
from zeroflow.functions.predictor.predictor import Predictor
from zeroflow.functions.predictor.protocols import cloudevents
from zeroflow.functions.predictor.protocols.documents import parsed
from zeroflow.functions.predictor.routes.edge import about, body, json_answer
from zeroflow.models.python import PythonModel

EXPLAINER_S = 60.0


def forwarded(url: str, asked: bytes) -> Response:
    """Return what the explainer answers; it may be a model of its own, and slow."""
    import urllib3

    headers = {"content-type": JSON, "x-request-id": g.request_id}
    headers |= {name: request.headers[name] for name in ("traceparent", "tracestate") if name in request.headers}
    try:
        answer = urllib3.request("POST", url, body=asked, headers=headers, timeout=EXPLAINER_S, retries=False)
    except urllib3.exceptions.HTTPError as error:
        raise ModelNotReady(f"the explainer does not answer: {type(error).__name__}") from error
    return Response(answer.data, answer.status, content_type=answer.headers.get("content-type", JSON))


def add(app: Flask, predictor: Predictor) -> None:
    """Add the routes."""

    @app.get("/v1/models")
    def v1_list() -> Response:
        return json_answer({"models": predictor.repository.names})

    @app.get("/v1/models/<name>")
    def v1_ready(name: str) -> Response:
        return json_answer({"name": predictor.repository.get(name).name, "ready": True})

    @app.route("/v1/models/<name>:predict", methods=["GET", "PUT", "PATCH", "DELETE"])
    @app.route("/v1/models/<name>:explain", methods=["GET", "PUT", "PATCH", "DELETE"])
    def v1_asked_otherwise(name: str) -> Response:  # else GET would look for a model of the name `M:predict`
        raise MethodNotAllowed(["POST", "OPTIONS"])

    @app.post("/v1/models/<name>:predict")
    def v1_predict(name: str) -> Response:
        answers = predictor.answers_of(name)
        about(answers, b"")
        asked = body(predictor.settings.max_body_bytes)
        about(answers, asked)
        headers = {key.lower(): value for key, value in request.headers.items()}
        own: dict[str, str] = {}
        if not cloudevents.is_event(headers):
            found = answers.predict(asked, headers, own)
            more = sendable(own)
            return Response(found, content_type=more.pop("content-type", JSON), headers=more)
        any_data = isinstance(answers.served.model, PythonModel)
        answer = answers.predict_parsed(cloudevents.data_of(headers, asked, any_data), headers, own)
        event = cloudevents.answer(headers, name, answer)
        return Response(event.body, 200, headers={**sendable(own), **event.headers})

    @app.post("/v1/models/<name>:explain")
    def v1_explain(name: str) -> Response:
        asked = body(predictor.settings.max_body_bytes)
        answers = predictor.answers_of(name)
        if isinstance(answers.served.model, PythonModel) and answers.served.model.explains:
            headers = {key.lower(): value for key, value in request.headers.items()}
            explain = answers.served.model.answer
            found = answers.served.guarded(explain, parsed(asked), headers, "explain")
            return Response(written(found), content_type=JSON)
        if predictor.settings.explainer is None:
            raise NotImplementedHere("Could not find explainer_host.")
        return forwarded(f"http://{predictor.settings.explainer}/v1/models/{name}:explain", asked)
