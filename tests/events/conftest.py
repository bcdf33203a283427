"""A broker ingress that records what it is sent, over real HTTP."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class RecordingBroker:
    """What arrived, and what to answer."""

    url: str = ""
    status: int = 202
    received: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def broker() -> Iterator[RecordingBroker]:
    """Run a recording broker for one test."""
    recording = RecordingBroker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            if recording.status == 202:
                recording.received.append({**headers, "body": body.decode()})
            self.send_response(recording.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    recording.url = f"http://127.0.0.1:{server.server_address[1]}/zeroflow/default"
    yield recording
    server.shutdown()
    thread.join()
    server.server_close()
