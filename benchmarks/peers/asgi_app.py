"""A bare ASGI application under uvicorn, with orjson: MODEL names the file."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import orjson
from asking import answering

answer = answering(os.environ["MODEL"])


async def app(scope, receive, send):
    """Answer protocol V1, whatever the path."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    found = answer(orjson.loads(body)["instances"])
    data = orjson.dumps({"predictions": found.tolist()})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": data})
