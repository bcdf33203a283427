"""OpenAI's API for models of text: `/openai/v1/{completions,chat/completions,embeddings,rerank,models}`, as in KServe.

Answers in one piece or, with `"stream": true`, as server-sent events that end with `[DONE]`. Errors have OpenAI's body,
so that its clients raise what they raise for OpenAI. A parameter that a model here cannot honour, or that nobody knows,
is refused by name.

Sources: OpenAI API reference (completions, chat completions, embeddings, models, streaming); KServe, huggingfaceserver;
rerank: Jina AI's and vLLM's API, which KServe passes on.
"""

import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, g

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor.errors import BadRequest, NotImplementedHere
from zeroflow.functions.predictor.openai import toolcalls, wishes
from zeroflow.functions.predictor.openai.completions import Said
from zeroflow.functions.predictor.predictor import Predictor, status_of
from zeroflow.functions.predictor.protocols.documents import parsed
from zeroflow.functions.predictor.routes.edge import about, body, json_answer
from zeroflow.models.tensormodel import COMPLETES, EMBEDS, RANKS, Language, TensorModel


def add(app: Flask, predictor: Predictor) -> None:
    """Add the routes."""
    prefix = predictor.settings.openai_prefix

    @app.get(f"{prefix}/v1/models")
    def models() -> Response:
        names = [served.name for served in predictor.repository.served if _language(served.model)]
        return json_answer({"object": "list", "data": [_model(name) for name in names]})

    @app.get(f"{prefix}/v1/models/<name>")
    def model(name: str) -> Response:
        return _guarded(lambda: json_answer(_model(predictor.repository.get(name).name)))

    @app.post(f"{prefix}/v1/completions")
    def completions() -> Response:
        return _guarded(lambda: _complete(predictor, _asked(predictor, wishes.COMPLETION), chat=False))

    @app.post(f"{prefix}/v1/chat/completions")
    def chat() -> Response:
        return _guarded(lambda: _complete(predictor, _asked(predictor, wishes.CHAT), chat=True))

    @app.post(f"{prefix}/v1/embeddings")
    def embeddings() -> Response:
        return _guarded(lambda: _embed(predictor, _asked(predictor, wishes.EMBEDDING)))

    @app.post(f"{prefix}/v1/rerank")
    def rerank() -> Response:
        return _guarded(lambda: _rank(predictor, _asked(predictor, wishes.RANKING)))


def _guarded(answer: Callable[[], Response]) -> Response:
    """Return an answer, or the error in OpenAI's form."""
    try:
        return answer()
    except ZeroflowError as error:
        g.failed, status = error.reason == "ModelFailed", status_of(error)
        kind = "invalid_request_error" if status < 500 else "server_error"
        said = {"message": str(error), "type": kind, "param": None, "code": error.reason}
        return json_answer({"error": said}, status)


def _asked(predictor: Predictor, fields: wishes.Fields) -> dict[str, Any]:
    g.raw = body(predictor.settings.max_body_bytes)
    found = parsed(g.raw)
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object")
    wishes.check_supported(found, fields)
    return found


def _of(predictor: Predictor, asked: dict[str, Any], needs: str) -> Language:
    name = asked.get("model")
    if not isinstance(name, str):
        raise BadRequest("model must be the name of a model")
    answers = predictor.answers_of(name)
    about(answers, g.raw)
    language = _language(answers.served.model)
    if language is None or needs not in language.does:
        raise NotImplementedHere(f"model {name} is not one that {needs} text")
    return language


def _language(model: Any) -> Language | None:
    return model.language if isinstance(model, TensorModel) else None


def _complete(predictor: Predictor, asked: dict[str, Any], chat: bool) -> Response:
    language = _of(predictor, asked, COMPLETES)
    tools = toolcalls.tools_of(asked) if chat else []
    try:
        prompts = [language.prompt_of(wishes.chat_messages(asked), tools)] if chat else wishes.texts(asked, "prompt")
        count = wishes.number(asked, "n", 1, 1, wishes.MAX_CHOICES)
        forms = wishes.forms(asked, tools) if chat else ()
        wish = wishes.completion(asked, chat, language.vocabulary, forms)
        streams, usage = wishes.streaming(asked)
        lanes = [language.complete(text, wishes.nth(wish, at)) for text in prompts for at in range(count)]
    except ValueError as error:
        raise BadRequest(str(error)) from error
    told = {"logprobs": wish.logprobs is not None, "tools": bool(tools), "usage": usage}
    said = Said(asked["model"], chat, sum(language.count(text) for text in prompts), **told)
    if streams:
        headers = {"cache-control": "no-cache"}
        return Response(said.events(lanes), content_type="text/event-stream", headers=headers)
    return json_answer(said.whole([list(lane) for lane in lanes]))


def _embed(predictor: Predictor, asked: dict[str, Any]) -> Response:
    language = _of(predictor, asked, EMBEDS)
    texts = wishes.texts(asked, "input")
    encoding = asked.get("encoding_format") or "float"
    if encoding not in ("float", "base64"):
        raise BadRequest(f"encoding_format must be float or base64, got {encoding!r}")
    vectors = language.embed(texts)
    data = [
        {"object": "embedding", "index": at, "embedding": _encoded(vector) if encoding == "base64" else vector.tolist()}
        for at, vector in enumerate(vectors)
    ]
    tokens = sum(language.count(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json_answer({"object": "list", "data": data, "model": asked["model"], "usage": usage})


def _rank(predictor: Predictor, asked: dict[str, Any]) -> Response:
    language = _of(predictor, asked, RANKS)
    query, documents = asked.get("query"), wishes.documents(asked)
    if not isinstance(query, str) or not query:
        raise BadRequest("query must be a text")
    shown = wishes.number(asked, "top_n", len(documents), 0, 1 << 20) or len(documents)
    scores = language.rank(query, documents)
    order = sorted(range(len(documents)), key=lambda at: -scores[at])
    results = [
        {"index": at, "document": {"text": documents[at]}, "relevance_score": float(scores[at])} for at in order[:shown]
    ]
    tokens = sum(language.count(query) + language.count(text) for text in documents)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    answer = {"id": f"rerank-{secrets.token_hex(12)}", "model": asked["model"], "usage": usage, "results": results}
    return json_answer(answer)


def _encoded(vector: Any) -> str:
    import base64

    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "zeroflow"}
