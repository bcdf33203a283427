"""A function in the way of Knative's own `runtime` test image: tells what it sees, and does what it is asked.

Single-file ThreadingHTTPServer; state of an instance in memory; its whole behaviour is in the request's path and query.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

STATE = {"ready_from": 0.0, "alive": True, "in": 0, "most": 0, "asked": {}}
LOCK = threading.Lock()


class Function(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        body = self.read_body()
        with LOCK:
            STATE["in"] += 1
            STATE["most"] = max(STATE["most"], STATE["in"])
            STATE["asked"][url.path] = STATE["asked"].get(url.path, 0) + 1
        try:
            getattr(self, f"answer_{url.path.strip('/').replace('-', '_') or 'tell'}", self.answer_tell)(query, body)
        except BrokenPipeError:
            pass
        finally:
            with LOCK:
                STATE["in"] -= 1

    def read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(parts)

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def say(self, status, text, kind="text/plain"):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer_tell(self, query, body):
        told = {
            "env": dict(os.environ),
            "headers": [[name, value] for name, value in self.headers.items()],
            "path": self.path,
            "method": self.command,
            "body": body.decode("latin-1"),
            "stdin": "eof" if select.select([sys.stdin], [], [], 0)[0] and sys.stdin.read() == "" else "open",
            "argv": sys.argv[1:],
            "pid": os.getpid(),
            "tmp": os.access("/tmp", os.W_OK),
            "most": STATE["most"],
            "asked": STATE["asked"],
            "client": self.client_address[1],
        }
        self.say(200, json.dumps(told), "application/json")

    def answer_sleep(self, query, body):
        time.sleep(float(query["s"]))
        self.say(200, f"{os.getpid()}")

    def answer_drip(self, query, body):
        """Send a part at once and then one every `s` seconds."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(int(query.get("n", 3))):
            if number or "wait" in query:
                time.sleep(float(query["s"]))
            part = f"data: {number}\n\n".encode()
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")

    def answer_status(self, query, body):
        self.say(int(query["code"]), "as asked")

    def answer_health(self, query, body):
        ready = time.monotonic() >= STATE["ready_from"]
        self.say(200 if ready else 503, "ready" if ready else "not ready")

    def answer_live(self, query, body):
        self.say(200 if STATE["alive"] else 500, "alive")

    def answer_set(self, query, body):
        STATE.update({name: value == "true" for name, value in query.items()})
        self.say(200, str(os.getpid()))

    def answer_unready(self, query, body):
        STATE["ready_from"] = time.monotonic() + float(query["s"])
        self.say(200, str(os.getpid()))

    def answer_exit(self, query, body):
        os._exit(int(query.get("code", 1)))


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    daemon_threads = True


def main():
    if reason := os.environ.get("FAIL_AT_START"):
        print(reason, file=sys.stderr)
        sys.exit(int(os.environ.get("FAIL_CODE", "1")))
    time.sleep(float(os.environ.get("START_AFTER_S", "0")))
    server = Server(("127.0.0.1", int(os.environ.get("BIND", os.environ["PORT"]))), Function)

    def stop(*_):
        if path := os.environ.get("TELL_TERM"):
            with open(path, "a") as file:
                file.write(f"{os.getpid()} in flight: {STATE['in']}\n")
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    server.serve_forever(poll_interval=0.05)


main()
