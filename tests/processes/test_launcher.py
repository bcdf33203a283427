"""Processes from fork servers: how they start, what they see, how they end, and that nothing outlives the host."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from zeroflow.errors import InvalidInput, Unavailable
from zeroflow.knative.local.api.rest.log_times import RECORD, WrittenTimes, beside
from zeroflow.knative.local.processes import forkserver
from zeroflow.knative.local.processes.launcher import Launcher, listening_socket
from zeroflow.knative.local.processes.process import ProcessSpec
from zeroflow.knative.local.processes.runtimes import RUNTIMES, Runtime

SERVER = Runtime(("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "no_such_module_at_all"))
TINY = """
import ctypes, os, time
COUNT = int(os.environ.get("COUNT", "0"))
def application(environ, start_response):
    if environ["PATH_INFO"] == "/slow":
        time.sleep(0.6)
    if environ["PATH_INFO"] == "/hang":
        ctypes.PyDLL(None).sleep(60)  # with Python's lock: nothing else runs here
    data = repr((os.environ.get("COLOUR"), os.environ.get("HOME"), os.getsid(0) == os.getpid())).encode()
    start_response("200 OK", [("Content-Length", str(len(data)))])
    return [data]
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def until(true, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, f"not reached in {timeout_s} s"
        time.sleep(0.01)


@pytest.fixture
def run(tmp_path):
    """Run `scenario(launcher, spec)`, where `spec(*argv, ...)` makes a specification in the test's folder."""
    (tmp_path / "tiny.py").write_text(TINY)

    def spec(*argv, **changes):
        env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)} | changes.pop("env", {})
        return ProcessSpec("test", argv, env, tmp_path / "logs" / "test.log", **changes)

    def runner(scenario, **settings):
        async def main():
            launcher = Launcher(**({"runtimes": {"test": SERVER}} | settings))
            try:
                return await asyncio.wait_for(scenario(launcher, spec), 30)
            finally:
                await launcher.close()

        return asyncio.run(main())

    return runner


async def get(port, path="/"):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    return answer.partition(b"\r\n\r\n")[2].decode()


def test_a_gunicorn_command_is_forked_with_its_own_environment_and_session(run, monkeypatch):
    monkeypatch.setenv("COLOUR", "of the host")

    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        asked = asyncio.ensure_future(get(port))  # connects before anything listens in user space
        process = await launcher.start(
            spec(
                "gunicorn", "--threads=2", "tiny:application", runtime="test", listener=listener, env={"COLOUR": "red"}
            )
        )
        assert await process.serving()
        assert await asked == "('red', None, True)"
        assert launcher.warm("test")

    run(scenario)


def test_children_of_a_warm_parent_are_ready_within_the_budget(run):
    async def scenario(launcher, spec):
        times = []
        for _ in range(5):
            listener = listening_socket()
            port = listener.getsockname()[1]
            started = time.perf_counter()
            process = await launcher.start(spec("gunicorn", "tiny:application", runtime="test", listener=listener))
            assert await process.serving()
            await get(port)
            times.append(time.perf_counter() - started)
            process.kill()
            assert await process.wait() == -signal.SIGKILL
        assert sorted(times[1:])[0] < 0.2

    run(scenario)


def test_sigterm_lets_a_request_in_progress_finish(run):
    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        process = await launcher.start(spec("gunicorn", "tiny:application", runtime="test", listener=listener))
        assert await process.serving()
        slow = asyncio.ensure_future(get(port, "/slow"))
        reached = asyncio.get_running_loop().time() + 0.2
        while asyncio.get_running_loop().time() < reached:
            await asyncio.sleep(0.02)
        process.terminate()
        assert (await slow).startswith("(None")
        assert await process.wait() == 0

    run(scenario)


def test_a_worker_that_hangs_is_ended_and_says_where(run, tmp_path):
    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        command = ("gunicorn", "--timeout=1", "--threads=2", "tiny:application")
        process = await launcher.start(spec(*command, runtime="test", listener=listener))
        assert await process.serving()
        asked = asyncio.ensure_future(get(port, "/hang"))
        assert await process.wait() == 1
        assert (await asyncio.gather(asked, return_exceptions=True))[0] in ("",) or asked.exception()
        assert "in application" in (tmp_path / "logs" / "test.log").read_text()

    run(scenario)


def test_more_workers_than_one_have_an_arbiter(run):
    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        command = ("gunicorn", "--workers=2", "tiny:application")
        process = await launcher.start(spec(*command, runtime="test", listener=listener))
        assert await process.serving()
        assert (await get(port)).endswith("False)")  # the session is the arbiter's
        process.terminate()
        assert await process.wait() == 0

    run(scenario)


PREDICTOR = """
import os


class Application:
    config = {"THREADS": 1, "BODY_BYTES": 1000, "WAITING": 10}

    @property
    def wsgi_app(self):
        return self

    def is_quick(self, environ):
        return True

    busy = None

    def begin(self):
        print("begun", flush=True)

    def close(self):
        print("closed", flush=True)

    def __call__(self, environ, start_response):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [str(os.getsid(0) == os.getpid()).encode()]


application = Application()
"""


def test_a_predictors_worker_has_no_arbiter_and_stops_in_order(run, tmp_path):
    (tmp_path / "predictor.py").write_text(PREDICTOR)

    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        worker = "--worker-class=zeroflow.functions.predictor.worker.QuickWorker"
        command = ("gunicorn", worker, "--timeout=0", "predictor:application")
        process = await launcher.start(spec(*command, runtime="test", listener=listener))
        assert await process.serving()
        assert await get(port) == "True"  # the session is its own
        process.terminate()
        assert await process.wait() == 0
        assert (tmp_path / "logs" / "test.log").read_text().splitlines() == ["begun", "closed"]

    run(scenario)


def test_an_application_that_cannot_be_loaded_is_not_ready_and_says_why(run, tmp_path):
    async def scenario(launcher, spec):
        process = await launcher.start(
            spec("gunicorn", "tiny:application", runtime="test", listener=listening_socket(), env={"COUNT": "many"})
        )
        assert not await process.serving()
        assert await process.wait() == 3
        assert "ValueError: invalid literal for int()" in (tmp_path / "logs" / "test.log").read_text()

    run(scenario)


def test_a_module_that_is_missing_or_broken_is_skipped(run, caplog):
    caplog.set_level("INFO")
    test_a_gunicorn_command_is_forked_with_its_own_environment_and_session(run, pytest.MonkeyPatch())
    assert "no_such_module_at_all is not preloaded: ModuleNotFoundError" in caplog.text


def test_a_module_that_starts_a_thread_makes_its_runtime_unusable_and_is_named(run, tmp_path, monkeypatch):
    code = "import threading as t, time\nt.Thread(target=time.sleep, args=(60,), name='helper', daemon=True).start()\n"
    (tmp_path / "starts_a_thread.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    async def scenario(launcher, spec):
        with pytest.raises(Unavailable, match=r"has started threads .*helper"):
            await launcher.start(spec("gunicorn", "tiny:application", runtime="test", listener=listening_socket()))

    run(scenario, runtimes={"test": Runtime(("starts_a_thread",))})


def test_a_fork_server_ends_after_its_retention_and_comes_back(run):
    async def scenario(launcher, spec):
        process = await launcher.start(spec("true"))
        parent = launcher.parents()["command"]
        assert await process.wait() == 0
        deadline = asyncio.get_running_loop().time() + 5
        while launcher.parents():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
        assert not alive(parent)
        assert await (await launcher.start(spec("true"))).wait() == 0

    run(scenario, retention_s=0.2)


def test_a_fork_server_is_kept_while_a_child_runs(run):
    async def scenario(launcher, spec):
        process = await launcher.start(spec("sleep", "0.5"))
        assert await (await launcher.start(spec("true"))).wait() == 0
        assert await process.wait() == 0
        assert "command" in launcher.parents()

    run(scenario, retention_s=0.2)


def test_processes_of_a_killed_fork_server_end_and_are_reported(run):
    async def scenario(launcher, spec):
        process = await launcher.start(spec("sleep", "300"))
        os.kill(launcher.parents()["command"], signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        assert await (await launcher.start(spec("true"))).wait() == 0

    run(scenario)


def test_what_a_process_leaves_behind_goes_with_it(run, tmp_path):
    async def scenario(launcher, spec):
        process = await launcher.start(spec("sh", "-c", f"sleep 300 & echo $! > {tmp_path}/left"))
        assert await process.wait() == 0
        pid = int((tmp_path / "left").read_text())
        deadline = asyncio.get_running_loop().time() + 5
        while alive(pid):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    run(scenario)


def test_the_number_of_a_group_is_nobody_elses_when_the_group_is_killed(monkeypatch):
    host, end = socket.socketpair()
    server = forkserver.ForkServer(end)
    pid = os.posix_spawn("/bin/true", ["true"], {})
    server._children.add(pid)
    killed = []
    monkeypatch.setattr(
        forkserver, "_kill_group", lambda group: killed.append((group, Path(f"/proc/{group}").exists()))
    )
    with host, end:
        until(lambda: not alive(pid))
        server._reap()
        assert killed == [(pid, True)]
        assert not Path(f"/proc/{pid}").exists()
        assert json.loads(host.recv(1000)) == {"op": "exited", "pid": pid, "code": 0}


def test_many_processes_at_once_and_a_large_environment(run):
    async def scenario(launcher, spec):
        env = {f"BIG_{number}": "x" * 100_000 for number in range(10)}
        processes = await asyncio.gather(
            *(launcher.start(spec("sh", "-c", "test ${#BIG_9} = 100000", env=env)) for _ in range(30))
        )
        assert [await process.wait() for process in processes] == [0] * 30

    run(scenario)


def test_an_unknown_runtime_is_refused_with_the_known_ones(run):
    async def scenario(launcher, spec):
        with pytest.raises(InvalidInput, match="no runtime 'gpu'; there are: test"):
            await launcher.start(spec("gunicorn", runtime="gpu"))

    run(scenario)


def test_the_runtimes_of_the_platform_load_without_threads(run):
    async def scenario(launcher, spec):
        for name in RUNTIMES:
            listener = listening_socket()
            process = await launcher.start(spec("gunicorn", "tiny:application", runtime=name, listener=listener))
            assert await process.serving()
            process.kill()

    run(scenario, runtimes=RUNTIMES)


def test_what_the_predictors_parent_loads_later_starts_no_thread(run):
    pytest.importorskip("onnxruntime", reason="onnxruntime starts one unless it is told not to")

    async def scenario(launcher, spec):
        listener = listening_socket()
        process = await launcher.start(spec("gunicorn", "tiny:application", runtime="predictor", listener=listener))
        assert await process.serving()
        while not launcher.warm("predictor"):
            await asyncio.sleep(0.05)
        parent = launcher.parents()["predictor"]
        assert "onnxruntime" in Path(f"/proc/{parent}/maps").read_text()
        assert len(os.listdir(f"/proc/{parent}/task")) == 1

    run(scenario, runtimes={"predictor": RUNTIMES["predictor"]})


@pytest.fixture
def host(tmp_path):
    """Return a running host that starts processes, and the pids of everything it has started."""
    (tmp_path / "tiny.py").write_text(TINY)
    script = Path(__file__).with_name("host.py")
    with subprocess.Popen([sys.executable, str(script), str(tmp_path)], stdout=subprocess.PIPE) as process:
        pids = json.loads(process.stdout.readline())
        try:
            assert {"plain", "grandchild", "served", "arbiter", "worker 0", "parent test", "parent command"} <= set(
                pids
            )
            assert all(alive(pid) for pid in pids.values())
            yield process, pids
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_nothing_outlives_the_host(host, number):
    process, pids = host
    process.send_signal(number)
    process.wait()
    until(lambda: not any(alive(pid) for pid in pids.values()))


def test_containers_die_even_when_host_and_fork_servers_are_killed_together(host):
    process, pids = host
    process.send_signal(signal.SIGSTOP)  # it can do nothing about what comes
    for name in ("parent test", "parent command"):
        os.kill(pids[name], signal.SIGKILL)
    until(lambda: not any(alive(pids[name]) for name in ("plain", "served", "arbiter", "worker 0")))
    os.kill(pids["grandchild"], signal.SIGKILL)  # left behind by a shell: only a fork server could have known of it


def test_the_first_child_does_not_wait_for_what_its_parent_loads_later(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "later_module.py").write_text("import os, time\nwhile not os.path.exists('go'): time.sleep(0.01)\n")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "told.py").write_text(
        "import sys\n"
        "def application(environ, start_response):\n"
        "    answer = str('later_module' in sys.modules).encode()\n"
        "    start_response('200 OK', [('Content-Length', str(len(answer)))])\n"
        "    return [answer]\n"
    )

    async def answer(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        process = await launcher.start(spec("gunicorn", "told:application", runtime="test", listener=listener))
        assert await process.serving()
        return await get(port)

    async def scenario(launcher, spec):
        assert await answer(launcher, spec) == "False"
        assert not launcher.warm("test")
        (tmp_path / "go").touch()
        while not launcher.warm("test"):
            await asyncio.sleep(0.05)
        assert await answer(launcher, spec) == "True"

    run(scenario, runtimes={"test": Runtime(SERVER.modules, ("no_such_module_either", "later_module"))})


def test_the_host_notes_when_each_line_of_a_log_was_written(run):
    async def scenario(launcher, spec):
        before_ns = time.time_ns()
        told = spec(sys.executable, "-uc", "print('a'); print('b')")
        process = await launcher.start(told)
        assert await process.wait() == 0
        await asyncio.sleep(0)  # what is done when it has ended
        first, second = (WrittenTimes(told.log).at(position) for position in (0, 2))
        assert before_ns < first <= second < time.time_ns()
        assert beside(told.log).stat().st_size in (RECORD.size, 2 * RECORD.size)

    run(scenario)
