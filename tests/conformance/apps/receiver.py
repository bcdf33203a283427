"""A subscriber that remembers what it got and answers as its path says."""

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

GOT = []
LOCK = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with LOCK:
            self.answer(200, json.dumps(GOT).encode(), [("Content-Type", "application/json")])

    def do_POST(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("latin-1")
        headers = {name.lower(): value for name, value in self.headers.items()}
        with LOCK:
            GOT.append({"path": url.path, "headers": headers, "body": body, "at": time.time()})
            nth = sum(each["path"] == url.path and each["headers"].get("ce-id") == headers.get("ce-id") for each in GOT)
        time.sleep(float(query.get("sleep", 0)))
        if nth <= int(query.get("fail", 0)):
            self.answer(int(query.get("code", 503)), b"not now")
        elif "reply" in query:
            event = [("Ce-Specversion", "1.0"), ("Ce-Id", f"re-{headers.get('ce-id')}"), ("Ce-Source", "/receiver")]
            self.answer(200, b"{}", [*event, ("Ce-Type", query["reply"]), ("Content-Type", "application/json")])
        elif "say" in query:
            self.answer(200, query["say"].encode())
        else:
            self.answer(202)


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


Server(("127.0.0.1", int(os.environ["PORT"])), Receiver).serve_forever()
