"""OpenAI's API for models of text: `/openai/v1/{completions,chat/completions,embeddings,models}`, as KServe places it.

Answers in one piece or, with `"stream": true`, as server-sent events that end with `[DONE]`. Errors have OpenAI's body,
so that its clients raise what they raise for OpenAI. A parameter that a model here cannot honour is refused by name.

Source: OpenAI API reference (completions, chat completions, embeddings, models, streaming); KServe, huggingfaceserver.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
from flask import Flask, Response, g

from zeroflow.errors import ZeroflowError
from zeroflow.functions.predictor import wishes
from zeroflow.functions.predictor.documents import parsed
from zeroflow.functions.predictor.errors import BadRequest, NotImplementedHere
from zeroflow.functions.predictor.predictor import Predictor, status_of
from zeroflow.functions.predictor.routes.edge import about, body, json_answer
from zeroflow.models.tensormodel import Language, Piece, TensorModel


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
        return _guarded(lambda: _complete(predictor, _asked(predictor), chat=False))

    @app.post(f"{prefix}/v1/chat/completions")
    def chat() -> Response:
        return _guarded(lambda: _complete(predictor, _asked(predictor), chat=True))

    @app.post(f"{prefix}/v1/embeddings")
    def embeddings() -> Response:
        return _guarded(lambda: _embed(predictor, _asked(predictor)))


def _guarded(answer: Callable[[], Response]) -> Response:
    """Return an answer, or the error in OpenAI's form."""
    try:
        return answer()
    except ZeroflowError as error:
        g.failed, status = error.reason == "ModelFailed", status_of(error)
        kind = "invalid_request_error" if status < 500 else "server_error"
        said = {"message": str(error), "type": kind, "param": None, "code": error.reason}
        return json_answer({"error": said}, status)


def _asked(predictor: Predictor) -> dict[str, Any]:
    g.raw = body(predictor.settings.max_body_bytes)
    found = parsed(g.raw)
    if not isinstance(found, dict):
        raise BadRequest("the body must be a JSON object")
    wishes.check_supported(found)
    return found


def _of(predictor: Predictor, asked: dict[str, Any], completes: bool) -> Language:
    name = asked.get("model")
    if not isinstance(name, str):
        raise BadRequest("model must be the name of a model")
    answers = predictor.answers_of(name)
    about(answers, g.raw)
    language = _language(answers.served.model)
    if language is None or language.completes != completes:
        does = "completes" if completes else "embeds"
        raise NotImplementedHere(f"model {name} is not one that {does} text")
    return language


def _language(model: Any) -> Language | None:
    return model.language if isinstance(model, TensorModel) else None


def _complete(predictor: Predictor, asked: dict[str, Any], chat: bool) -> Response:
    language = _of(predictor, asked, completes=True)
    prompts = [language.prompt_of(wishes.chat_messages(asked))] if chat else wishes.texts(asked, "prompt")
    choices = [text for text in prompts for _ in range(wishes.number(asked, "n", 1, 1, wishes.MAX_CHOICES))]
    wish = wishes.completion(asked, chat)
    try:
        lanes = [language.complete(text, wish) for text in choices]
    except ValueError as error:
        raise BadRequest(str(error)) from error
    said = _Said(asked["model"], chat, sum(language.count(text) for text in prompts))
    if wishes.flag(asked, "stream"):
        options = asked.get("stream_options")
        usage = isinstance(options, dict) and bool(options.get("include_usage"))
        headers = {"cache-control": "no-cache"}
        return Response(_events(said, lanes, usage), content_type="text/event-stream", headers=headers)
    return json_answer(said.whole([list(lane) for lane in lanes]))


class _Said:
    """What is said of a completion, in the forms of both endpoints."""

    def __init__(self, model: str, chat: bool, prompt_tokens: int) -> None:
        self._chat, self._prompt_tokens = chat, prompt_tokens
        kind = "chat.completion" if chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, lanes: list[list[Piece]]) -> dict[str, Any]:
        """Return the answer in one piece."""
        choices = []
        for at, pieces in enumerate(lanes):
            text = "".join(piece.text for piece in pieces)
            told = {"message": {"role": "assistant", "content": text}} if self._chat else {"text": text}
            choices.append({"index": at, **told, "logprobs": None, "finish_reason": pieces[-1].reason})
        return {**self._head, "choices": choices, "usage": self.usage(sum(lane[-1].tokens for lane in lanes))}

    def usage(self, made: int) -> dict[str, int]:
        """Return the tokens of prompt and completion."""
        asked = self._prompt_tokens
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}

    def part(self, at: int, piece: Piece, first: bool) -> dict[str, Any]:
        """Return one event's data."""
        if not self._chat:
            return self.bare([{"index": at, "text": piece.text, "logprobs": None, "finish_reason": piece.reason}])
        delta: dict[str, str] = {"role": "assistant"} if first else {}
        if piece.text or not piece.reason:
            delta["content"] = piece.text
        return self.bare([{"index": at, "delta": delta, "logprobs": None, "finish_reason": piece.reason}])

    def bare(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """Return an event's data with these choices."""
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices}


def _events(said: _Said, lanes: list[Iterator[Piece]], usage: bool) -> Iterator[bytes]:
    made = 0
    try:
        for at, lane in enumerate(lanes):
            first = True
            for piece in lane:
                made += piece.tokens
                yield _event(said.part(at, piece, first))
                first = False
        if usage:
            yield _event({**said.bare([]), "usage": said.usage(made)})
    except RuntimeError as error:
        yield _event({"error": {"message": str(error), "type": "server_error", "param": None, "code": None}})
    yield b"data: [DONE]\n\n"


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def _embed(predictor: Predictor, asked: dict[str, Any]) -> Response:
    language = _of(predictor, asked, completes=False)
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


def _encoded(vector: Any) -> str:
    import base64

    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "zeroflow"}
