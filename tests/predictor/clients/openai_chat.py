"""OpenAI's client, what a chat may ask for beside its text: `openai_chat.py URL` prints what it got as JSON."""

import json
import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/openai/v1", api_key="none", max_retries=0)
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]
ASKED = [{"role": "user", "content": "weather in Bonn"}]


def chat(**asked):
    return client.chat.completions.create(**{"model": "caller", "messages": ASKED, "temperature": 0, **asked})


def refused(**asked) -> str:
    try:
        chat(**asked)
    except openai.BadRequestError as error:
        return error.body["message"]
    return ""


called = chat(tools=TOOLS).choices[0]
parts = [part.choices[0] for part in chat(tools=TOOLS, tool_choice="auto", stream=True)]
streamed = [call for part in parts for call in part.delta.tool_calls or []]
answered = chat(
    tools=TOOLS,
    messages=[
        *ASKED,
        called.message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": called.message.tool_calls[0].id, "content": "sunny"},
    ],
).choices[0]
plain = chat(tools=TOOLS, tool_choice="none").choices[0]

words = {"logit_bias": {"0": -100, "1": -100, "2": -100}}
penalised = {"frequency_penalty": 0.5, "presence_penalty": 0.25, **words}
told = client.completions.create(
    model="writer", prompt="the cat", max_tokens=6, temperature=0, logprobs=2, extra_body=penalised
).choices[0]
chatted = chat(model="writer", max_tokens=5, logprobs=True, top_logprobs=3, **words).choices[0]
flowing = [
    part.choices[0]
    for part in chat(model="writer", max_tokens=5, logprobs=True, top_logprobs=3, stream=True, **words)
    if part.choices
]
biased = client.completions.create(model="writer", prompt="the", max_tokens=3, temperature=0, logit_bias={"8": 100})
several = [
    [c.text for c in client.completions.create(model="writer", prompt="the", max_tokens=12, seed=7, n=3).choices]
    for _ in range(2)
]
narrow = client.completions.create(model="writer", prompt="the", max_tokens=6, seed=1, top_p=1e-6).choices[0].text
greedy = client.completions.create(model="writer", prompt="the", max_tokens=6, temperature=0).choices[0].text
usage = list(chat(model="writer", max_tokens=3, stream=True, stream_options={"include_usage": True}))
whole = chat(model="writer", max_tokens=3).usage

print(
    json.dumps(
        {
            "call": [called.finish_reason, called.message.content, called.message.tool_calls[0].function.model_dump()],
            "streamed": [streamed[0].function.name, streamed[0].function.arguments, parts[-1].finish_reason],
            "streamed_text": "".join(part.delta.content or "" for part in parts),
            "answered": [answered.message.content, answered.finish_reason],
            "plain": [plain.message.content, plain.message.tool_calls],
            "told": told.logprobs.model_dump() | {"text": told.text},
            "chatted": [[each.token, each.logprob, each.bytes] for each in chatted.logprobs.content],
            "chatted_tops": [len(each.top_logprobs) for each in chatted.logprobs.content],
            "flowing": [
                [each.token, each.logprob, each.bytes]
                for part in flowing
                if part.logprobs
                for each in part.logprobs.content
            ],
            "biased": biased.choices[0].text,
            "several": several,
            "narrow": [narrow, greedy],
            "usage": [part.usage is None for part in usage[:-1]] + [usage[-1].usage == whole],
            "refused": {
                "strict": refused(tools=[{"type": "function", "function": {"name": "f", "strict": True}}]),
                "nameless": refused(tools=[{"type": "function", "function": {}}]),
                "toolless model": refused(model="writer", tools=TOOLS),
                "top without logprobs": refused(top_logprobs=2),
                "too many": refused(logprobs=True, top_logprobs=21),
                "bias": refused(logit_bias={"99999": 1}),
                "store": refused(store=True),
                "unknown": refused(extra_body={"top_k": 5}),
                "usage without stream": refused(stream_options={"include_usage": True}),
                "image": refused(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]),
                "arguments": refused(
                    messages=[
                        {
                            "role": "assistant",
                            "tool_calls": [
                                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}
                            ],
                        }
                    ]
                ),
            },
        }
    )
)
