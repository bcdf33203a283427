"""What is said of a completion, whole or as events, in the forms of OpenAI's two endpoints.

Source: OpenAI API reference (completions, chat completions, streaming, log-probabilities).
"""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import orjson

from zeroflow.functions.predictor.openai import toolcalls
from zeroflow.models.tensormodel import Chosen, Piece


class Said:
    """One answer. `logprobs` and `tools`: whether they were asked for; `usage`: whether the stream ends with it."""

    def __init__(
        self,
        model: str,
        chat: bool,
        prompt_tokens: int,
        *,
        logprobs: bool = False,
        tools: bool = False,
        usage: bool = False,
    ) -> None:
        self._chat, self._prompt_tokens = chat, prompt_tokens
        self._logprobs, self._tools, self._usage = logprobs, tools, usage
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    def whole(self, lanes: Sequence[Sequence[Piece]]) -> dict[str, Any]:
        """Return the answer in one piece."""
        choices = []
        for at, pieces in enumerate(lanes):
            text, reason = "".join(piece.text for piece in pieces), pieces[-1].reason
            told: dict[str, Any] = {"text": text}
            if self._chat:
                told, called = self._message(text)
                reason = "tool_calls" if called else reason
            logprobs = self._shares([chosen for piece in pieces for chosen in piece.chosen])
            choices.append({"index": at, **told, "logprobs": logprobs, "finish_reason": reason})
        return {**self._head, "choices": choices, "usage": self._used(sum(lane[-1].tokens for lane in lanes))}

    def events(self, lanes: Iterable[Iterator[Piece]]) -> Iterator[bytes]:
        """Yield the answer as server-sent events; an error on the way is the last but one."""
        made = 0
        try:
            for at, lane in enumerate(lanes):
                for piece in lane if not self._tools else self._held(lane):
                    made += piece.tokens if isinstance(piece, Piece) else 0
                    yield _event(self._part(at, piece))
            if self._usage:
                yield _event({**self._bare([]), "usage": self._used(made)})
        except RuntimeError as error:
            yield _event({"error": {"message": str(error), "type": "server_error", "param": None, "code": None}})
        yield b"data: [DONE]\n\n"

    def _message(self, text: str) -> tuple[dict[str, Any], bool]:
        if self._tools:
            rest, calls = toolcalls.read(text)
            if calls:
                return {"message": {"role": "assistant", "content": rest or None, "tool_calls": calls}}, True
        return {"message": {"role": "assistant", "content": text}}, False

    def _held(self, lane: Iterator[Piece]) -> Iterator[Piece | dict[str, Any]]:
        """Yield pieces, holding back what may be a call; calls are told at the end, each whole."""
        held = ""
        for piece in lane:
            held += piece.text
            if piece.reason is None:
                free = toolcalls.said_before(held)
                yield Piece(held[:free], piece.tokens, None, piece.chosen)
                held = held[free:]
                continue
            rest, calls = toolcalls.read(held)
            if rest:
                yield Piece(rest, 0)
            for number, call in enumerate(calls):
                yield {"tool_calls": [{"index": number, **call}]}
            yield Piece("", piece.tokens, "tool_calls" if calls else piece.reason, piece.chosen)

    def _part(self, at: int, piece: Piece | dict[str, Any]) -> dict[str, Any]:
        if isinstance(piece, dict):
            return self._bare([{"index": at, "delta": piece, "logprobs": None, "finish_reason": None}])
        told: dict[str, Any] = {"text": piece.text}
        if self._chat:
            delta: dict[str, Any] = {"role": "assistant"}
            if piece.text or not piece.reason:
                delta["content"] = piece.text
            told = {"delta": delta}
        logprobs = self._shares(piece.chosen) if piece.chosen else None
        return self._bare([{"index": at, **told, "logprobs": logprobs, "finish_reason": piece.reason}])

    def _bare(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        return {**self._head, "object": kind, "choices": choices, **({"usage": None} if self._usage else {})}

    def _used(self, made: int) -> dict[str, int]:
        asked = self._prompt_tokens
        return {"prompt_tokens": asked, "completion_tokens": made, "total_tokens": asked + made}

    def _shares(self, chosen: Sequence[Chosen]) -> dict[str, Any] | None:
        if not self._logprobs:
            return None
        if self._chat:
            content = [
                {**_share(each.text, each.logprob), "top_logprobs": [_share(*other) for other in each.top]}
                for each in chosen
            ]
            return {"content": content, "refusal": None}
        return {
            "tokens": [each.text for each in chosen],
            "token_logprobs": [each.logprob for each in chosen],
            "top_logprobs": [dict(each.top) for each in chosen],
            "text_offset": [each.offset for each in chosen],
        }


def _share(text: str, logprob: float) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def _event(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"
