"""What a request of OpenAI's API wishes, read and checked; every fault is a BadRequest that names the parameter.

Source: OpenAI API reference (completions, chat completions, embeddings).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.openai import toolcalls
from zeroflow.models.tensormodel import Form, Wish

DEFAULT_TOKENS, CHAT_TOKENS = 16, 128
MAX_CHOICES, MAX_TEXTS = 8, 2048
MAX_TOP, MAX_CHAT_TOP = 5, 20
"""Log-probabilities beside each token's own."""

Fields = Mapping[str, tuple[Any, ...] | None]
"""What a request may have: None for what is read, else at which values a field that is not honoured asks nothing."""

_ANY: Fields = {"model": None, "user": None}
_SAMPLING: Fields = {
    **_ANY,
    **dict.fromkeys(("max_tokens", "temperature", "top_p", "n", "stop", "seed", "stream", "stream_options")),
    **dict.fromkeys(("frequency_penalty", "presence_penalty", "logit_bias", "logprobs")),
}
COMPLETION: Fields = {**_SAMPLING, "prompt": None, "best_of": (None, 1), "echo": (None, False), "suffix": (None, "")}
CHAT: Fields = {
    **_SAMPLING,
    **dict.fromkeys(("messages", "max_completion_tokens", "top_logprobs", "tools", "tool_choice")),
    **dict.fromkeys(("parallel_tool_calls", "response_format")),
    **dict.fromkeys(("metadata", "safety_identifier", "prompt_cache_key")),
    "audio": (None,),
    "function_call": (None, "none"),
    "functions": (None, []),
    "modalities": (None, ["text"]),
    "prediction": (None,),
    "reasoning_effort": (None, "none"),
    "service_tier": (None, "auto", "default"),
    "store": (None, False),
    "verbosity": (None, "medium"),
    "web_search_options": (None,),
}
EMBEDDING: Fields = {**_ANY, "input": None, "encoding_format": None, "dimensions": (None,)}
RANKING: Fields = {**_ANY, "query": None, "documents": None, "top_n": None, "return_documents": (None, True)}


def check_supported(asked: dict[str, Any], fields: Fields) -> None:
    """Raise BadRequest for a field that nobody knows, or that asks for something that is not honoured."""
    for name, value in asked.items():
        if name not in fields:
            raise BadRequest(f"{name[:80]!r} is no parameter of this request; leave it out")
        neutral = fields[name]
        if neutral is not None and value not in neutral:
            raise BadRequest(f"{name} is not supported; leave it out")


def texts(asked: dict[str, Any], field: str) -> list[str]:
    """Return the texts of a field; raise BadRequest when it holds anything else."""
    found = asked.get(field)
    given = [found] if isinstance(found, str) else found
    if not isinstance(given, list) or not given or not all(isinstance(text, str) and text for text in given):
        raise BadRequest(f"{field} must be a text or a list of texts, none of them empty")
    if len(given) > MAX_TEXTS:
        raise BadRequest(f"{field} has {len(given)} texts, {MAX_TEXTS} are taken at once")
    return given


def documents(asked: dict[str, Any]) -> list[str]:
    """Return what is to be ranked: texts, or objects with one each."""
    given = asked.get("documents")
    if isinstance(given, list):
        given = [each.get("text") if isinstance(each, dict) else each for each in given]
    return texts({"documents": given}, "documents")


def chat_messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a chat, each with its text; raise BadRequest for anything else."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message")
    plain = []
    for at, message in enumerate(messages):
        place = f"messages[{at}]"
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise BadRequest(f"{place} must have a role and a content of text")
        content = message.get("content")
        if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            content = "".join(part["text"] for part in content)
        calls = {"tool_calls": toolcalls.calls_of(message, place)} if message.get("tool_calls") is not None else {}
        if content is None and calls:
            content = ""
        if not isinstance(content, str):
            raise BadRequest(f"{place} must have a role and a content of text")
        given = {name: message[name] for name in ("name", "tool_call_id") if isinstance(message.get(name), str)}
        plain.append({"role": message["role"], "content": content, **given, **calls})
    return plain


def completion(asked: dict[str, Any], chat: bool, vocabulary: int, forms: tuple[Form, ...] = ()) -> Wish:
    """Return how a text is to be completed, to one of `forms`; raise BadRequest naming the parameter that is wrong."""
    name = "max_completion_tokens" if asked.get("max_completion_tokens") is not None else "max_tokens"
    stop = asked.get("stop")
    stops = [stop] if isinstance(stop, str) else stop or []
    if not isinstance(stops, list) or len(stops) > 4 or not all(isinstance(each, str) and each for each in stops):
        raise BadRequest("stop must be a text or a list of up to 4 texts")
    seed = asked.get("seed")
    if seed is not None and type(seed) is not int:
        raise BadRequest("seed must be a whole number")
    return Wish(
        max_tokens=number(asked, name, CHAT_TOKENS if chat else DEFAULT_TOKENS, 1, 1 << 20),
        is_default=asked.get(name) is None,
        temperature=_share(asked, "temperature", 1.0, 0.0, 2.0),
        top_p=_share(asked, "top_p", 1.0, 0.0, 1.0),
        stop=tuple(stops),
        seed=seed,
        frequency_penalty=_share(asked, "frequency_penalty", 0.0, -2.0, 2.0),
        presence_penalty=_share(asked, "presence_penalty", 0.0, -2.0, 2.0),
        logit_bias=_bias(asked.get("logit_bias"), vocabulary),
        logprobs=_logprobs(asked, chat),
        forms=forms,
    )


def nth(wish: Wish, at: int) -> Wish:
    """Return the wish of one of several choices, each of which has a seed of its own."""
    return wish if wish.seed is None or not at else replace(wish, seed=wish.seed + at)


def forms(asked: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[Form, ...]:
    """Return what an answer in a chat must be one of, by `response_format` or `tool_choice`; none for free text."""
    calls, wanted = toolcalls.required(asked, tools), asked.get("response_format")
    if wanted is None:
        return calls
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return calls
    if kind not in ("json_object", "json_schema"):
        raise BadRequest("response_format.type must be text, json_object or json_schema")
    if calls:
        raise BadRequest("response_format and a required call exclude each other; leave one out")
    if kind == "json_object":
        return (Form({"type": "object"}),)
    said = wanted.get("json_schema")
    schema = said.get("schema") if isinstance(said, dict) else None
    if not isinstance(schema, dict):
        raise BadRequest("response_format.json_schema.schema must be a JSON schema")
    return (Form(schema),)


def streaming(asked: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether the answer is to be streamed, and whether that ends with its usage."""
    streams, options = flag(asked, "stream"), asked.get("stream_options")
    if options is None:
        return streams, False
    if not streams:
        raise BadRequest("stream_options needs stream to be true")
    if not isinstance(options, dict) or not set(options) <= {"include_usage", "include_obfuscation"}:
        raise BadRequest('stream_options must be {"include_usage": true|false}')
    if options.get("include_obfuscation"):
        raise BadRequest("stream_options.include_obfuscation is not supported; leave it out")
    return streams, flag(options, "include_usage")


def _logprobs(asked: dict[str, Any], chat: bool) -> int | None:
    if not chat:
        return None if asked.get("logprobs") is None else number(asked, "logprobs", 0, 0, MAX_TOP)
    top = number(asked, "top_logprobs", 0, 0, MAX_CHAT_TOP)
    if flag(asked, "logprobs"):
        return top
    if top:
        raise BadRequest("top_logprobs needs logprobs to be true")
    return None


def _bias(given: Any, vocabulary: int) -> tuple[tuple[int, float], ...]:
    if given is None:
        return ()
    if not isinstance(given, dict):
        raise BadRequest("logit_bias must be an object of token ids and numbers")
    found = []
    for token, bias in given.items():
        known = token.isascii() and token.isdecimal() and len(token) < 12 and int(token) < vocabulary
        if not known or isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
            raise BadRequest(
                f"logit_bias[{token[:20]!r}] is {str(bias)[:20]}, expected a token id below {vocabulary} and a number "
                "from -100 to 100"
            )
        found.append((int(token), float(bias)))
    return tuple(found)


def number(asked: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    value = default if asked.get(name) is None else asked[name]
    if type(value) is not int or not least <= value <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}, got {str(value)[:40]}")
    return value


def _share(asked: dict[str, Any], name: str, default: float, least: float, most: float) -> float:
    value = default if asked.get(name) is None else asked[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise BadRequest(f"{name} must be a number from {least:g} to {most}, got {str(value)[:40]}")
    return float(value)


def flag(asked: dict[str, Any], name: str) -> bool:
    """Return a switch."""
    value = asked.get(name, False)
    if value not in (True, False, None):
        raise BadRequest(f"{name} must be true or false")
    return bool(value)
