"""Processes of a runtime of which one serves: the parent stays small, a spare loads and becomes the process."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from processes.test_launcher import alive, get, run, until  # noqa: F401 - `run` is a fixture
from zeroflow.errors import Unavailable
from zeroflow.knative.local.processes.launcher import listening_socket
from zeroflow.knative.local.processes.runtimes import Runtime

NOTES = "import os\nopen(f'loaded-by-{os.getpid()}', 'w').close()\n"
ALONE = Runtime(("gunicorn.app.wsgiapp", "gunicorn.workers.gthread", "no_such_module", "notes_who"), alone=True)


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Have a module that notes which processes load it; the function returns their pids."""
    (tmp_path / "notes_who.py").write_text(NOTES)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return lambda: {int(path.name.rpartition("-")[2]) for path in tmp_path.glob("loaded-by-*")}


async def serving(launcher, spec, **changes):
    process = await launcher.start(
        spec("gunicorn", "tiny:application", runtime="test", listener=listening_socket(), **changes)
    )
    assert await process.serving()
    return process


async def loaded_by(notes, number):
    while len(notes()) < number:
        await asyncio.sleep(0.02)
    return notes()


def test_a_spare_becomes_the_process_and_the_next_is_loaded_when_it_has_ended(run, notes, caplog):  # noqa: F811
    caplog.set_level("INFO")

    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        assert notes() == {first.pid}, "only the process itself has loaded anything"
        assert launcher.warm("test")
        first.terminate()
        assert await first.wait() == 0
        (spare,) = await loaded_by(notes, 2) - {first.pid}
        second = await serving(launcher, spec)
        assert second.pid == spare

    run(scenario, runtimes={"test": ALONE})
    assert "no_such_module is not preloaded: ModuleNotFoundError" in caplog.text


def test_the_next_is_loaded_before_an_end_that_was_announced(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        for _ in range(3):
            launcher.prepare("test")
        (spare,) = await loaded_by(notes, 2) - {first.pid}
        first.terminate()
        assert await first.wait() == 0
        second = await serving(launcher, spec)
        assert second.pid == spare
        assert notes() == {first.pid, spare}, "no third one while the second serves"

    run(scenario, runtimes={"test": ALONE})


def test_what_was_prepared_for_an_end_that_did_not_come_is_given_up(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        launcher.prepare("test", within_s=0.5)
        (spare,) = await loaded_by(notes, 2) - {first.pid}
        await asyncio.to_thread(until, lambda: not Path(f"/proc/{spare}").exists())
        assert alive(first.pid)
        first.terminate()
        assert await first.wait() == 0
        (next_spare,) = await loaded_by(notes, 3) - {first.pid, spare}
        assert (await serving(launcher, spec)).pid == next_spare

    run(scenario, runtimes={"test": ALONE})


def test_it_has_its_own_environment_session_and_standard_input(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        listener = listening_socket()
        port = listener.getsockname()[1]
        big = {"COLOUR": "red", **{f"BIG_{number}": "x" * 100_000 for number in range(10)}}
        process = await launcher.start(
            spec("gunicorn", "--threads=2", "tiny:application", runtime="test", listener=listener, env=big)
        )
        assert await process.serving()
        assert os.getsid(process.pid) == process.pid
        sockets = [link for link in Path(f"/proc/{process.pid}/fd").iterdir() if "socket" in os.readlink(link)]
        assert len(sockets) == 1, "its listener, and neither the host's socket nor its parent's"
        assert await get(port) == "('red', None, True)"

    run(scenario, runtimes={"test": ALONE})


def test_many_started_at_once_all_serve(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        processes = await asyncio.gather(*(serving(launcher, spec) for _ in range(4)))
        assert notes() == {process.pid for process in processes}, "each has loaded for itself, and none is spare"

    run(scenario, runtimes={"test": ALONE})


def test_a_spare_that_is_killed_is_replaced_when_it_is_needed(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        first.kill()
        (spare,) = await loaded_by(notes, 2) - {first.pid}
        os.kill(spare, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not Path(f"/proc/{spare}").exists())
        assert len(notes()) == 2
        await serving(launcher, spec)

    run(scenario, runtimes={"test": ALONE})


def test_modules_that_end_the_process_are_reported_and_start_nothing_again(run, tmp_path, notes):  # noqa: F811
    (tmp_path / "ends.py").write_text(f"{NOTES}os._exit(3)\n")

    async def scenario(launcher, spec):
        for _ in range(2):
            with pytest.raises(Unavailable, match="ended with code 3 while it was loading its modules"):
                await serving(launcher, spec)
        assert len(notes()) <= 3

    run(scenario, runtimes={"test": Runtime(("ends",), alone=True)})


def test_a_spare_does_not_outlive_its_parent(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        parent = launcher.parents()["test"]
        first.kill()
        (spare,) = await loaded_by(notes, 2) - {first.pid}
        os.kill(parent, signal.SIGKILL)
        await asyncio.to_thread(until, lambda: not alive(spare))

    run(scenario, runtimes={"test": ALONE})


def test_what_is_for_later_is_loaded_while_nothing_is_to_be_started(run, notes):  # noqa: F811
    async def scenario(launcher, spec):
        first = await serving(launcher, spec)
        assert notes() == set()
        first.terminate()
        assert await first.wait() == 0
        (spare,) = await loaded_by(notes, 1)
        assert (await serving(launcher, spec)).pid == spare

    run(scenario, runtimes={"test": Runtime(ALONE.modules[:2], ("notes_who",), alone=True)})
