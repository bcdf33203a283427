"""What a request of OpenAI's API wishes, read and checked; every fault is a BadRequest that names the parameter.

Source: OpenAI API reference (completions, chat completions, embeddings).
"""

from typing import Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.models.tensormodel import Wish

DEFAULT_TOKENS, CHAT_TOKENS = 16, 128
MAX_CHOICES, MAX_TEXTS = 8, 2048
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (None, 1),
    "echo": (None, False),
    "frequency_penalty": (None, 0),
    "function_call": (None, "none"),
    "functions": (None, []),
    "logit_bias": (None, {}),
    "logprobs": (None, False),
    "presence_penalty": (None, 0),
    "response_format": (None, {"type": "text"}),
    "suffix": (None, ""),
    "tool_choice": (None, "none", "auto"),
    "tools": (None, []),
    "top_logprobs": (None, 0),
    "dimensions": (None,),
}
"""Parameters that are known and not honoured, and the values at which they ask for nothing."""


def check_supported(asked: dict[str, Any]) -> None:
    """Raise BadRequest for a parameter that asks for something that is not honoured."""
    for name, neutral in NEUTRAL.items():
        if asked.get(name) not in neutral:
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


def chat_messages(asked: dict[str, Any]) -> list[dict[str, str]]:
    """Return a chat's messages as role and text; raise BadRequest naming the one that is neither."""
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("messages must be a list with at least one message")
    plain = []
    for at, message in enumerate(messages):
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in content):
            content = "".join(part["text"] for part in content)
        if not isinstance(content, str) or not isinstance(message.get("role"), str):
            raise BadRequest(f"messages[{at}] must have a role and a content of text")
        plain.append({"role": message["role"], "content": content})
    return plain


def completion(asked: dict[str, Any], chat: bool) -> Wish:
    """Return how a text is to be completed; raise BadRequest naming the parameter that is wrong."""
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
        temperature=_share(asked, "temperature", 1.0, 2.0),
        top_p=_share(asked, "top_p", 1.0, 1.0),
        stop=tuple(stops),
        seed=seed,
    )


def number(asked: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    """Return a whole number from `least` to `most`."""
    value = default if asked.get(name) is None else asked[name]
    if type(value) is not int or not least <= value <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}, got {str(value)[:40]}")
    return value


def _share(asked: dict[str, Any], name: str, default: float, most: float) -> float:
    value = default if asked.get(name) is None else asked[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise BadRequest(f"{name} must be a number from 0 to {most}, got {str(value)[:40]}")
    return float(value)


def flag(asked: dict[str, Any], name: str) -> bool:
    """Return a switch."""
    value = asked.get(name, False)
    if value not in (True, False, None):
        raise BadRequest(f"{name} must be true or false")
    return bool(value)
