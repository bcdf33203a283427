"""The static form: a handler and nothing else."""


async def handle(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"plain " + scope["path"].encode()})
