"""A broker's stand-in: takes POSTed events and keeps them; can be told to refuse them, or to answer slowly."""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DEADLINE_S = 20.0


@dataclass(frozen=True)
class Event:
    """One event in binary mode; header names in lower case."""

    headers: dict[str, str]
    body: bytes

    @property
    def type(self) -> str:
        return self.headers["ce-type"]

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Receiver:
    """Listens on a port of its own."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.status = 202
        self.open = threading.Event()
        self.open.set()
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                receiver.open.wait(DEADLINE_S)
                with receiver._changed:
                    if receiver.status == 202:
                        receiver.events.append(Event({k.lower(): v for k, v in self.headers.items()}, body))
                    receiver._changed.notify_all()
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def wait_for(self, wanted: Callable[[list[Event]], Any]) -> Any:
        """Wait until the events are what is wanted; return what that says."""
        deadline = time.monotonic() + DEADLINE_S
        with self._changed:
            while not (found := wanted(self.events)):
                assert self._changed.wait(deadline - time.monotonic()), [event.headers for event in self.events]
            return found

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()
