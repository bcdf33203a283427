"""The worker that stays with a connection: the same thread goes on, and nobody else waits for it."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from zeroflow.knative.local.processes.launcher import listening_socket
from zeroflow.knative.local.processes.worker import LINGER_MS

APPLICATION = """
import threading

def application(environ, start_response):
    body = environ["wsgi.input"].read() or threading.current_thread().name.encode()
    start_response("200 OK", [("content-length", str(len(body)))])
    return [body]
"""


@pytest.fixture
def worker(tmp_path):
    (tmp_path / "tiny.py").write_text(APPLICATION)
    listener = listening_socket()
    command = [sys.executable, "-m", "gunicorn", "tiny:application", f"--bind=fd://{listener.fileno()}", "--threads=3"]
    command += ["--worker-class=zeroflow.knative.local.processes.worker.LingeringWorker", "--keep-alive=60"]
    process = subprocess.Popen(command, cwd=tmp_path, pass_fds=[listener.fileno()])
    process.port = listener.getsockname()[1]
    listener.close()
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def connected(worker):
    """Return what opens a connection to the worker, which is closed in the end."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(
            contextlib.closing(http.client.HTTPConnection("127.0.0.1", worker.port, timeout=20))
        )


def asked(connection, body=None):
    connection.request("POST", "/", body)
    answer = connection.getresponse()
    assert answer.status == 200
    return answer.read().decode()


def test_requests_on_the_heels_of_each_other_are_one_threads(connected):
    connection = connected()
    assert len({asked(connection) for _ in range(100)}) == 1


def test_a_connection_is_answered_after_it_was_given_back(connected):
    connection = connected()
    other = connected()
    for body in ("a", "b"):
        assert asked(connection, body) == body
        began = time.monotonic()
        while time.monotonic() - began < LINGER_MS / 1000 * 3:  # longer than anyone lingers
            assert asked(other, "x") == "x"


def test_more_connections_than_threads_are_all_answered(connected):
    answers = []

    def ask(number):
        connection = connected()
        answers.extend(asked(connection, f"{number}.{turn}") for turn in range(20))

    asking = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
    for each in asking:
        each.start()
    for each in asking:
        each.join()
    assert sorted(answers) == sorted(f"{number}.{turn}" for number in range(12) for turn in range(20))


def test_it_stops_while_it_lingers(worker, connected):
    connection = connected()
    asked(connection)
    os.kill(worker.pid, signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
