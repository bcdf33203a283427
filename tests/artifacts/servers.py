"""Servers for sources of models: a web server with redirects, and one that speaks Cloud Storage's JSON API."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit


class Web:
    """A web server of this process: what it serves, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address, self.asked = address, list[str]()
        self.headers: dict[str, str] = {}
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.extra: dict[str, dict[str, str]] = {}

    @property
    def url(self) -> str:
        return f"http://{self.address}"


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, headers, body = answer(self.command, self.path, dict(self.headers))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def web() -> Iterator[Web]:
    site = Web("")

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        site.asked.append(f"{method} {path}")
        site.headers = headers
        if path in site.redirects:
            return 302, {"Location": site.redirects[path]}, b""
        if path not in site.files:
            return 404, {}, b"nothing here"
        return 200, {"ETag": f'"{hash(site.files[path])}"', **site.extra.get(path, {})}, site.files[path]

    with serving(answer) as address:
        site.address = address
        yield site


@contextmanager
def google_storage(objects: dict[str, dict[str, bytes]]) -> Iterator[str]:
    """Serve buckets of objects as Cloud Storage does: a page of two at a time."""

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        parts = urlsplit(path)
        _, _, _, _, bucket, *rest = parts.path.split("/")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        held = objects.get(bucket)
        if held is None or rest[:1] != ["o"]:
            return 404, {}, b'{"error": {"code": 404}}'
        if len(rest) == 2:
            found = held.get(unquote(rest[1]))
            return (404, {}, b"") if found is None else (200, {}, found)
        names = sorted(name for name in held if name.startswith(query.get("prefix", "")))
        start = int(query.get("pageToken", "0"))
        page = {
            "items": [{"name": n, "size": str(len(held[n])), "generation": "1"} for n in names[start : start + 2]],
            **({"nextPageToken": str(start + 2)} if start + 2 < len(names) else {}),
        }
        return 200, {"Content-Type": "application/json"}, json.dumps(page).encode()

    with serving(answer) as address:
        yield f"http://{address}"


@contextmanager
def hub(models: dict[str, dict[str, dict[str, bytes]]], token: str = "") -> Iterator[Web]:
    """Serve models as the Hugging Face hub does, {model: {commit: {file: bytes}}}: the last commit is `main`.

    With a token, nothing is there for who has none, as for gated models. Large files lie elsewhere.
    """
    site = Web("")

    def answer(method: str, path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        site.asked.append(path)
        site.headers = headers
        if path.startswith("/blobs/"):
            return 200, {}, bytes.fromhex(path.removeprefix("/blobs/"))
        if token and headers.get("Authorization") != f"Bearer {token}":
            return 401, {}, b'{"error": "Invalid username or password."}'
        about, _, rest = path.removeprefix("/api/models/").partition("/revision/")
        model, _, asked = path.removeprefix("/").partition("/resolve/")
        commits = models.get(about if rest else model)
        revision, _, name = (rest or asked).partition("/")
        commit = revision if commits and revision != "main" else [*(commits or {"": {}})][-1]
        files = (commits or {}).get(commit)
        if files is None or (not rest and unquote(name) not in files):
            return 404, {}, b'{"error": "Not found"}'
        if rest:
            described = {"id": about, "sha": commit, "siblings": [{"rfilename": each} for each in files]}
            return 200, {"Content-Type": "application/json"}, json.dumps(described).encode()
        found = files[unquote(name)]
        return (200, {}, found) if len(found) < 8 else (302, {"Location": f"/blobs/{found.hex()}"}, b"")

    with serving(answer) as address:
        site.address = address
        yield site
