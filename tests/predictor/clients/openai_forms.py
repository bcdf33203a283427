"""OpenAI's client, chats whose answer must have a form: `openai_forms.py URL` prints what it got as JSON."""

import json
import sys
from typing import Literal

import openai
from pydantic import BaseModel, Field

client = openai.OpenAI(base_url=f"{sys.argv[1]}/openai/v1", api_key="none", max_retries=0)
ASKED = [{"role": "user", "content": "weather in Bonn"}]
CITY = {"type": "string", "enum": ["Bonn", "Köln"]}
WEATHER = {
    "name": "weather",
    "parameters": {
        "$defs": {"City": CITY},
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/City"}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
        "required": ["city", "days"],
        "additionalProperties": False,
    },
    "strict": True,
}
TOOLS = [{"type": "function", "function": each} for each in (WEATHER, {"name": "wait"})]


class Step(BaseModel):
    name: str = Field(max_length=5)
    done: bool


class Plan(BaseModel):
    kind: Literal["short", "long"]
    steps: list[Step] = Field(min_length=1, max_length=2)


def chat(**asked):
    return client.chat.completions.create(**{"model": "speller", "messages": ASKED, "max_tokens": 200, **asked})


def refused(**asked) -> str:
    try:
        chat(**asked)
    except openai.BadRequestError as error:
        return error.body["message"]
    return ""


def form(schema):
    return {"type": "json_schema", "json_schema": {"name": "it", "schema": schema}}


def called(**asked):
    choice = chat(tools=TOOLS, parallel_tool_calls=False, **asked).choices[0]
    (call,) = choice.message.tool_calls
    return [choice.finish_reason, choice.message.content, call.function.name, json.loads(call.function.arguments)]


parsed = [
    client.chat.completions.parse(
        model="speller", messages=ASKED, max_tokens=200, response_format=Plan, seed=seed, temperature=temperature
    )
    .choices[0]
    .message.parsed.model_dump()
    for seed, temperature in ((1, 0.0), (2, 1.0), (3, 2.0))
]
free = chat(response_format={"type": "json_object"}, seed=1).choices[0]
parts = [
    part.choices[0]
    for part in chat(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "weather"}}, stream=True)
]
streamed = [call.function for part in parts for call in part.delta.tool_calls or []]
deep: dict = {}
for _ in range(450):
    deep = {"items": deep}
print(
    json.dumps(
        {
            "parsed": parsed,
            "free": [free.message.content[:1], free.finish_reason],
            "required": [called(tool_choice="required", seed=seed) for seed in range(6)],
            "named": called(tool_choice={"type": "function", "function": {"name": "weather"}}),
            "streamed": [[each.name, json.loads(each.arguments)] for each in streamed],
            "streamed_end": parts[-1].finish_reason,
            "shares": len(
                chat(response_format=form(WEATHER["parameters"]), max_tokens=3, logprobs=True, top_logprobs=2)
                .choices[0]
                .logprobs.content
            ),
            "refused": {
                "schema": refused(response_format=form({"type": "nonsense"})),
                "deep": refused(response_format=form(deep)),
                "kind": refused(response_format={"type": "xml"}),
                "both": refused(tools=TOOLS, tool_choice="required", response_format={"type": "json_object"}),
                "unknown": refused(tools=TOOLS, tool_choice={"type": "function", "function": {"name": "fly"}}),
                "none": refused(tool_choice="required"),
                "auto": refused(tools=TOOLS),
                "words": refused(model="writer", response_format={"type": "json_object"}),
            },
        }
    )
)
