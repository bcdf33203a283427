"""Calls of tools in OpenAI's API: the request's fields, the chat's messages, and calls in what a model has written.

Models of the Hermes and Qwen families write `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, as their chat
templates tell them; other forms are refused where the prompt is made (models.huggingface). With `tool_choice` required
or a function's name the completion is one call that fits the schema; with auto it is what the model writes, and what is
no whole call stays text.

Source: OpenAI API reference (chat completions); transformers, chat templates with tools.
"""

import json
import secrets
from typing import Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.models.tensormodel import Form

BEGINS, ENDS = "<tool_call>", "</tool_call>"
MAX_TOOLS = 128
NO_ARGUMENTS = {"type": "object", "properties": {}, "additionalProperties": False}


def tools_of(asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the tools that the model is to know; raise BadRequest naming the field that is wrong."""
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    if not isinstance(tools, list) or len(tools) > MAX_TOOLS:
        raise BadRequest(f"tools must be a list of at most {MAX_TOOLS}")
    for at, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
            raise BadRequest(f'tools[{at}] must be {{"type": "function", "function": {{"name": ...}}}}')
        if not isinstance(function.get("parameters", {}), dict):
            raise BadRequest(f"tools[{at}].function.parameters must be a JSON schema")
        if function.get("strict") not in (None, False) and choice in (None, "none", "auto"):
            raise BadRequest(f"tools[{at}].function.strict is kept where tool_choice requires a call; leave it out")
    if choice == "auto" and not tools:
        raise BadRequest("tool_choice is auto, but there are no tools")
    if asked.get("parallel_tool_calls") is False and tools and choice in (None, "auto"):
        raise BadRequest("parallel_tool_calls=false is kept where tool_choice requires a call; leave it out")
    return [] if choice == "none" else tools


def required(asked: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[Form, ...]:
    """Return the calls one of which the completion must be; none when it need not be one. `tools`: of `tools_of`."""
    choice = asked.get("tool_choice")
    if choice in (None, "none", "auto"):
        return ()
    functions = {tool["function"]["name"]: tool["function"] for tool in tools}
    if choice != "required":
        named = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
        name = named.get("name") if isinstance(named, dict) else None
        if not isinstance(name, str):
            raise BadRequest(
                'tool_choice must be none, auto, required or {"type": "function", "function": {"name": ...}}'
            )
        functions = {name: functions[name]} if name in functions else {}
        if not functions:
            raise BadRequest(f"tool_choice names {name!r}, which is none of the tools")
    if not functions:
        raise BadRequest("tool_choice is required, but there are no tools")
    return tuple(
        Form(
            function.get("parameters", NO_ARGUMENTS),
            f'{BEGINS}\n{{"name": {json.dumps(name)}, "arguments": ',
            f"}}\n{ENDS}",
        )
        for name, function in functions.items()
    )


def calls_of(message: dict[str, Any], place: str) -> list[dict[str, Any]]:
    """Return the calls of an assistant's earlier message, with arguments as objects, which templates expect."""
    found = []
    calls = message.get("tool_calls")
    if not isinstance(calls, list) or not calls:
        raise BadRequest(f"{place}.tool_calls must be a list with at least one call")
    for at, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        try:
            arguments = json.loads(function["arguments"])  # type: ignore[index]
            name = str(function["name"])  # type: ignore[index]
        except (TypeError, KeyError, ValueError) as error:
            raise BadRequest(
                f"{place}.tool_calls[{at}].function must have a name and arguments that are JSON"
            ) from error
        found.append(
            {"type": "function", "id": str(call.get("id", "")), "function": {"name": name, "arguments": arguments}}
        )
    return found


def read(text: str) -> tuple[str, list[dict[str, Any]]]:
    """Return what is written beside calls, and the calls as OpenAI's API has them; in one pass, whatever is written."""
    calls: list[dict[str, Any]] = []
    rest, at = [], 0
    while (begins := text.find(BEGINS, at)) >= 0 and (ends := text.find(ENDS, begins)) >= 0:
        call = _call(text[begins + len(BEGINS) : ends])
        rest.append(text[at:begins] if call else text[at : ends + len(ENDS)])
        calls += [call] if call else []
        at = ends + len(ENDS)
    whole = "".join([*rest, text[at:]])
    return (whole.strip() if calls else whole), calls


def _call(written: str) -> dict[str, Any] | None:
    try:
        said = json.loads(written)
        name, arguments = said["name"], said.get("arguments", {})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    if not isinstance(name, str):
        return None
    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {"name": name, "arguments": text}}


def said_before(text: str) -> int:
    """Return how many characters of an unfinished text are no part of a call, whatever follows."""
    at = text.find(BEGINS)
    if at >= 0:
        return at
    for length in range(min(len(BEGINS) - 1, len(text)), 0, -1):
        if text.endswith(BEGINS[:length]):
            return len(text) - length
    return len(text)
