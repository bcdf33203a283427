"""exec, attach, cp and port-forward: the real kubectl over WebSockets and over SPDY, and the Python client."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from environments import python_of
from lifecycle.conftest import Host, eventually, running

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: nothing here was checked with it")
SERVES = """
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"served " * 20000)
    def log_message(self, *words):
        print("asked for", self.path, flush=True)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listens at", server.server_port, flush=True)
server.serve_forever()
"""


class Place:
    """A host with a Pod in it, and kubectl pointed there."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.websockets = "true"
        container = {
            "name": "main",
            "image": "any",
            "command": [sys.executable, "-c", SERVES],
            "env": [{"name": "WORD", "value": "from the container"}],
            "volumeMounts": [{"name": "scratch", "mountPath": "/mnt/scratch"}],
        }
        pod = {"restartPolicy": "Never", "containers": [container], "volumes": [{"name": "scratch", "emptyDir": {}}]}
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "work"},
            "spec": {"template": {"spec": pod}},
        }
        answer = host.request("POST", "/apis/batch/v1/namespaces/default/jobs", json=job)
        assert answer.status == 201, answer.data
        pods = "/api/v1/namespaces/default/pods?labelSelector=job-name=work"
        ready = lambda: [p for p in host.get(pods)["items"] if p.get("status", {}).get("phase") == "Running"]  # noqa: E731
        self.pod = eventually(ready, "the pod")[0]["metadata"]["name"]
        self.port = int(eventually(lambda: self.log().partition("listens at ")[2], "the port").split()[0])

    def log(self) -> str:
        return str(self.host.request("GET", f"/api/v1/namespaces/default/pods/{self.pod}/log").data.decode())

    def environment(self) -> dict[str, str]:
        names = ("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "KUBECTL_PORT_FORWARD_WEBSOCKETS")
        return os.environ | {"KUBECONFIG": str(self.host.home / "kubeconfig")} | dict.fromkeys(names, self.websockets)

    def kubectl(self, *words: str, stdin: bytes = b"", code: int = 0) -> bytes:
        done = subprocess.run(
            [str(KUBECTL), *words], input=stdin, capture_output=True, timeout=60, env=self.environment()
        )
        assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def start(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([str(KUBECTL), *words], env=self.environment(), **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running(tmp_path_factory.mktemp("home")) as host:
        yield Place(host)
        assert host.process is not None
        host.process.terminate()
        said = host.process.communicate(timeout=60)[1]
    assert "Traceback" not in said, said


@pytest.fixture(params=["true", "false"], ids=["websocket", "spdy"])
def place(whole: Place, request: pytest.FixtureRequest) -> Place:
    whole.websockets = request.param
    return whole


def test_a_command_has_the_containers_environment_its_own_input_and_its_exit_code(place: Place) -> None:
    said = place.kubectl("exec", place.pod, "--", "sh", "-c", "echo $WORD; pwd; echo problem >&2; ls /mnt")
    assert b"from the container\n" in said
    assert b"problem\n" in said
    assert b"scratch" in said
    data = os.urandom(300_000)
    assert place.kubectl("exec", "-i", f"pod/{place.pod}", "-c", "main", "--", "cat", stdin=data) == data
    assert b"exit code 3" in place.kubectl("exec", "job/work", "--", "sh", "-c", "exit 3", code=3)
    assert b"no such program" in place.kubectl("exec", place.pod, "--", "nothing-of-this-name", code=127)
    assert b"container other is not valid" in place.kubectl("exec", place.pod, "-c", "other", "--", "true", code=1)
    assert b"not found" in place.kubectl("exec", "nobody", "--", "true", code=1)


def test_a_command_on_a_terminal_sees_one(place: Place) -> None:
    master, slave = pty.openpty()
    words = ("exec", "-it", place.pod, "--", "sh", "-c", "test -t 0 && echo terminal $TERM; read line; echo got $line")
    process = place.start(*words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    while b"terminal xterm" not in said:
        said += os.read(master, 1000)
    os.write(master, b"hello\n")
    while b"got hello" not in said:
        said += os.read(master, 1000)
    assert process.wait(30) == 0
    os.close(master)


def test_a_command_ends_with_its_client(whole: Place, tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    process = whole.start("exec", whole.pod, "--", "sh", "-c", f"echo $$ > {mark}; exec sleep 600")
    pid = eventually(lambda: mark.exists() and mark.read_text().strip(), "the command")
    process.kill()
    process.wait()
    eventually(lambda: not Path(f"/proc/{pid}").exists(), "its end")


def test_files_are_copied_in_and_out(place: Place, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "file").write_bytes(os.urandom(200_000))
    place.kubectl("cp", str(tmp_path / "in"), f"{place.pod}:/mnt/scratch/copied-{place.websockets}")
    place.kubectl("cp", f"{place.pod}:/mnt/scratch/copied-{place.websockets}/file", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == (tmp_path / "in" / "file").read_bytes()


def test_a_port_is_forwarded(place: Place) -> None:
    process = place.start("port-forward", place.pod, f":{place.port}", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert "Forwarding from 127.0.0.1:" in line, line
        local = int(line.split("127.0.0.1:")[1].split()[0])
        for _ in range(5):
            with urllib.request.urlopen(f"http://127.0.0.1:{local}/", timeout=20) as answer:
                assert answer.read() == b"served " * 20000
    finally:
        process.kill()
        process.communicate()


def test_a_port_where_nothing_listens_is_said(whole: Place) -> None:
    process = whole.start("port-forward", whole.pod, ":9", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        assert process.stdout is not None
        local = int(process.stdout.readline().decode().split("127.0.0.1:")[1].split()[0])
        with pytest.raises(OSError):  # noqa: PT011 - reset or closed
            urllib.request.urlopen(f"http://127.0.0.1:{local}/", timeout=20).read()
        lines = iter(process.stdout.readline, b"")
        assert any(b"does not listen at port 9" in line for line in lines)
    finally:
        process.kill()
        process.communicate()


def test_who_attaches_hears_what_the_container_says(whole: Place) -> None:
    process = whole.start("attach", whole.pod, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        deadline, path = time.monotonic() + 30, f"/attached-{whole.websockets}"
        os.set_blocking(process.stdout.fileno(), False)
        said = b""
        while path.encode() not in said:
            assert time.monotonic() < deadline, said
            with urllib.request.urlopen(f"http://127.0.0.1:{whole.port}{path}", timeout=20) as answer:
                answer.read()
            time.sleep(0.1)
            said += process.stdout.read() or b""
    finally:
        process.kill()
        process.communicate()


PYTHON_CLIENT = """
import sys
from kubernetes import client, config
from kubernetes.stream import portforward, stream
config.load_kube_config(sys.argv[1])
api = client.CoreV1Api()
name, port = sys.argv[2], int(sys.argv[3])
said = stream(api.connect_get_namespaced_pod_exec, name, "default", command=["sh", "-c", "echo $WORD"], stdout=True,
              stderr=True, stdin=False, tty=False)
assert said == "from the container\\n", said
shell = stream(api.connect_get_namespaced_pod_exec, name, "default", command=["cat"], stdout=True, stdin=True,
               stderr=True, tty=False, _preload_content=False)
shell.write_stdin("one line\\n")
assert shell.readline_stdout(timeout=20) == "one line"
shell.close()
failed = stream(api.connect_get_namespaced_pod_exec, name, "default", command=["sh", "-c", "exit 7"], stdout=True,
                stderr=True, stdin=False, tty=False, _preload_content=False)
failed.run_forever(timeout=20)
assert failed.returncode == 7, failed.returncode
forwarded = portforward(api.connect_get_namespaced_pod_portforward, name, "default", ports=str(port))
socket = forwarded.socket(port)
socket.settimeout(20)
socket.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
received = b""
while piece := socket.recv(65536):
    received += piece
assert received.endswith(b"served " * 20000), (len(received), forwarded.error(port))
print("all of it")
"""


def test_the_official_python_client(whole: Place) -> None:
    python = python_of("kubernetes==35.0.0")
    words = [python, "-c", PYTHON_CLIENT, str(whole.host.home / "kubeconfig"), whole.pod, str(whole.port)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.stdout == "all of it\n", done.stderr


def test_top_tells_what_pods_and_the_machine_use(whole: Place) -> None:
    burns = "import time\nkept = bytearray(64 << 20)\nwhile True: pass"
    container = {"name": "burn", "image": "any", "command": [sys.executable, "-c", burns]}
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "burns"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }
    assert whole.host.request("POST", "/apis/batch/v1/namespaces/default/jobs", json=job).status == 201
    try:
        ready = lambda: b"burns-" in whole.kubectl("top", "pods", "--no-headers")  # noqa: E731
        eventually(ready, "a Pod that runs")
        words = {line.split()[0]: line.split()[1:] for line in whole.kubectl("top", "pods").decode().splitlines()}
        assert words.pop("NAME") == ["CPU(cores)", "MEMORY(bytes)"]
        (busy,) = (figures for name, figures in words.items() if name.startswith("burns-"))
        assert int(busy[0].removesuffix("m")) > int(words[whole.pod][0].removesuffix("m"))
        assert int(busy[1].removesuffix("Mi")) >= 64
        said = whole.kubectl("top", "pods", "-l", "job-name=work", "--containers").decode().splitlines()
        assert [line.split()[:2] for line in said] == [["POD", "NAME"], [whole.pod, "main"]]
        assert whole.kubectl("top", "node").split()[5] == b"localhost"
        assert b'"default/nobody" not found' in whole.kubectl("top", "pod", "nobody", code=1)
    finally:
        whole.kubectl("delete", "job", "burns")


def test_logs_tell_when_their_lines_were_written(whole: Place) -> None:
    urllib.request.urlopen(f"http://127.0.0.1:{whole.port}/stamped").read()
    asked = datetime.now(UTC)
    line = eventually(lambda: [one for one in whole.log().splitlines() if "/stamped" in one], "the line")[-1]
    said = whole.kubectl("logs", "--timestamps", whole.pod).decode().splitlines()
    stamps = [(datetime.fromisoformat(text.partition(" ")[0]), text.partition(" ")[2]) for text in said]
    assert [at for at, _ in stamps] == sorted(at for at, _ in stamps)
    (written,) = (at for at, text in stamps if text == line)
    assert abs((asked - written).total_seconds()) < 30
    since = written.isoformat().replace("+00:00", "Z")
    assert line in whole.kubectl("logs", f"--since-time={since}", whole.pod).decode()
    assert "listens at" not in whole.kubectl("logs", f"--since-time={since}", whole.pod).decode()
    later = (asked + timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    assert whole.kubectl("logs", f"--since-time={later}", whole.pod) == b""
    assert len(whole.kubectl("logs", "--limit-bytes=9", whole.pod)) == 9
    assert b"previous terminated container" in whole.kubectl("logs", "--previous", whole.pod, code=1)
    following = whole.start("logs", "-f", "--timestamps", "--tail=0", whole.pod, stdout=subprocess.PIPE)
    assert following.stdout is not None
    for _ in range(100):  # until it listens
        urllib.request.urlopen(f"http://127.0.0.1:{whole.port}/followed").read()
        if select.select([following.stdout], [], [], 0.2)[0]:
            break
    assert b"Z asked for /followed\n" in following.stdout.readline()
    following.kill()
    following.wait()
    following.stdout.close()


def test_debug_says_what_to_use_instead(whole: Place) -> None:
    said = whole.kubectl("debug", whole.pod, "--image=busybox", "--", "true", code=1)
    assert b"kubectl exec runs beside the container's process" in said
