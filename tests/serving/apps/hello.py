"""A WSGI function as a user would write it: says who it is, is slow, streams, fails or dies when asked to."""

import json
import os
import signal
import time


def application(environ, start_response):
    path = environ["PATH_INFO"]
    length = int(environ.get("CONTENT_LENGTH") or 0)
    body = environ["wsgi.input"].read() if environ.get("HTTP_TRANSFER_ENCODING") else environ["wsgi.input"].read(length)
    if path == "/slow":
        time.sleep(float(environ["QUERY_STRING"]))
    elif path == "/die":
        os.kill(os.getsid(0), signal.SIGKILL)
        time.sleep(10)
    elif path == "/stream":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events(int(environ["QUERY_STRING"]))
    elif path == "/stall":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "10")])
        return stall()
    elif path == "/health/readiness" and os.environ.get("NEVER_READY"):
        start_response("503 Service Unavailable", [("Content-Length", "0")])
        return []
    answer = {
        "revision": os.environ.get("K_REVISION"),
        "service": os.environ.get("K_SERVICE"),
        "configuration": os.environ.get("K_CONFIGURATION"),
        "port": os.environ.get("PORT"),
        "version": os.environ.get("VERSION"),
        "greeting": os.environ.get("GREETING"),
        "pid": os.getsid(0),  # the instance, whether or not its worker is a process of its own
        "method": environ["REQUEST_METHOD"],
        "path": path,
        "query": environ["QUERY_STRING"],
        "body": body.decode("latin-1") if len(body) < 1000 else len(body),
        "headers": {key[5:].lower(): value for key, value in environ.items() if key.startswith("HTTP_")},
        "secret_of_host": os.environ.get("ZEROFLOW_TEST_SECRET"),
    }
    data = json.dumps(answer).encode()
    status = "404 Not Found" if path == "/missing" else "200 OK"
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(data)))]
    start_response(status, [*headers, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-Case", "Kept")])
    return [data]


def events(count):
    for number in range(count):
        yield f"data: {number}\n\n".encode()
        time.sleep(0.05)


def stall():
    yield b"half"
    time.sleep(30)
    yield b"done.."
