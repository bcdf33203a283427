"""OpenAI's client: `openai_text.py URL` prints what it got as JSON."""

import json
import sys

import openai

client = openai.OpenAI(base_url=f"{sys.argv[1]}/openai/v1", api_key="none", max_retries=0)
fixed = {"model": "writer", "temperature": 0}


def refusal(kind, **asked) -> list:
    try:
        client.completions.create(**asked)
    except kind as error:
        return [error.status_code, error.body["message"]]
    return []


whole = client.completions.create(prompt="the cat sat", max_tokens=8, **fixed)
parts = list(client.completions.create(prompt="the cat sat", max_tokens=8, stream=True, **fixed))
messages = [{"role": "user", "content": "the cat"}]
chat = client.chat.completions.create(messages=messages, max_tokens=4, **fixed)
pieces = list(
    client.chat.completions.create(
        messages=messages, max_tokens=4, stream=True, stream_options={"include_usage": True}, **fixed
    )
)
seeded = [
    client.completions.create(model="writer", prompt="the", max_tokens=8, seed=5).choices[0].text for _ in range(2)
]
many = client.completions.create(model="writer", prompt=["the", "a"], n=2, max_tokens=2)
vectors = client.embeddings.create(model="embedder", input=["the cat", "a mat"])
plain = client.embeddings.create(model="embedder", input=["the cat"], encoding_format="float")
text = whole.choices[0].text
stop = text.split()[1] if len(text.split()) > 1 else text
stopped = client.completions.create(prompt="the cat sat", max_tokens=8, stop=stop, **fixed)
print(
    json.dumps(
        {
            "models": [model.id for model in client.models.list()],
            "text": text,
            "reason": whole.choices[0].finish_reason,
            "usage": whole.usage.model_dump()["total_tokens"],
            "streamed": "".join(part.choices[0].text for part in parts),
            "events": len(parts),
            "chat": chat.choices[0].message.content,
            "chat_streamed": "".join(each.choices[0].delta.content or "" for each in pieces if each.choices),
            "chat_usage": pieces[-1].usage.completion_tokens,
            "same_seed": seeded[0] == seeded[1],
            "many": [choice.index for choice in many.choices],
            "vectors": [len(each.embedding) for each in vectors.data],
            "same_vector": max(
                abs(a - b) for a, b in zip(vectors.data[0].embedding, plain.data[0].embedding, strict=True)
            )
            < 1e-6,
            "stopped": [stopped.choices[0].text, stopped.choices[0].finish_reason, stop],
            "unknown": refusal(openai.NotFoundError, model="nope", prompt="x"),
            "long": refusal(openai.BadRequestError, model="writer", prompt="the " * 100),
            "wrong": refusal(openai.BadRequestError, model="writer", prompt="x", temperature=3),
            "suffix": refusal(openai.BadRequestError, model="writer", prompt="x", suffix="y"),
            "embedder": refusal(openai.InternalServerError, model="embedder", prompt="x"),
        }
    )
)
