"""Answers with what it was asked, and shows its lifecycle."""

import asyncio
import hashlib
import json
from pathlib import Path


def new():
    return Echo()


class Echo:
    def __init__(self):
        self.greeting = "not started"
        self.stopped = None
        self.gate = asyncio.Event()

    def start(self, cfg):
        self.greeting = cfg["GREETING"]
        self.stopped = Path(cfg["STOPPED"])

    def stop(self):
        self.stopped.write_text("stopped")

    def alive(self):
        return True, "still here"

    def ready(self):
        return True

    async def handle(self, scope, receive, send):
        answers = {
            "/stream": self.stream,
            "/open": self.open,
            "/silent": self.silent,
            "/fail": self.fail,
            "/cut": self.cut,
        }
        await answers.get(scope["path"], self.echo)(scope, receive, send)

    async def echo(self, scope, receive, send):
        body, parts = b"", 0
        while True:
            message = await receive()
            body += message.get("body", b"")
            parts += 1
            if not message.get("more_body", False):
                break
        answer = {
            "greeting": self.greeting,
            "type": scope["type"],
            "method": scope["method"],
            "path": scope["path"],
            "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "scheme": scope["scheme"],
            "root_path": scope["root_path"],
            "http_version": scope["http_version"],
            "headers": sorted([k.decode(), v.decode()] for k, v in scope["headers"] if k.startswith(b"x-")),
            "content": [v.decode() for k, v in scope["headers"] if k == b"content-type"],
            "size": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "whole": parts > 1 or not body,
        }
        head = [(b"content-type", b"application/json"), (b"x-tag", b"one"), (b"x-tag", b"two")]
        await send({"type": "http.response.start", "status": 201, "headers": head})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    async def stream(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first ", "more_body": True})
        await self.gate.wait()
        self.gate.clear()
        await send({"type": "http.response.body", "body": b"second", "more_body": True})
        await send({"type": "http.response.body"})

    async def open(self, scope, receive, send):
        self.gate.set()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b"not for the wire"})

    async def silent(self, scope, receive, send):
        pass

    async def fail(self, scope, receive, send):
        raise RuntimeError("boom")

    async def cut(self, scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"the first half", "more_body": True})
        raise RuntimeError("no second half")
