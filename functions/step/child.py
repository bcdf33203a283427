"""A step's own process: leaves its parent's world, runs the component with kfp's executor, notes the end.

It is entered in two ways: in a child that the fork server has forked, or as a program, `python child.py FOLDER FD`,
in the environment that was built for the component's packages; what it is to do is read from a file without a name. It
therefore uses the standard library and kfp alone, and of kfp what is in it since 2.0. kfp knows only its own places for
`gs://`, `s3://` and others; the attributes by which it maps URIs to paths are set here, in this process, so that `.uri`
keeps the artifact's real location and `.path` lies in the attempt's folder.

A forked process pays for each page of memory that it writes to, and Python writes to what it only reads: most of a
trivial step's time. So what is not needed is not touched here, and kfp's executor is called without its command line.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
OUT_OF_MEMORY_SCORE = "500"  # of -1000 to 1000: the kernel ends a step before it ends what runs it
EXIT_BUSY = 75
MAX_MESSAGE_BYTES = 1 << 16
MAX_CAUSE_CHARS = 1000
SLACK_BYTES = 256 << 20  # reserved and never touched: stacks of threads, buffers of libraries


def leave(parent: int, kept: int) -> str:
    """Leave the world of the fork server, but for one descriptor, without knowing yet what is to be done.

    Return what tells this process from any other that ever has its number: number and beginning.
    """
    os.setsid()
    PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before the call
        os._exit(EXIT_BUSY)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.closerange(3, kept)
    os.closerange(kept + 1, 1 << 16)
    _prefer_to_die()
    with open("/proc/self/stat") as stat:  # a number alone may be another process's by the time it is read
        return f"{os.getpid()} {stat.read().rpartition(')')[2].split()[19]}"


def enter(folder: str, step: dict[str, Any], environment: dict[str, str], identity: str) -> None:
    """Become the process of the attempt in `folder`; `environment` is what this process has."""
    _hold(f"{folder}/control/pid", identity)
    if os.path.exists(
        f"{folder}/control/canceled"
    ):  # noted before anyone could have seen that this process holds its pid file
        os._exit(EXIT_BUSY)
    _redirect(step["log"])
    if limits := step["limits"]:
        _limit(limits)
    wanted = step["env"]
    if wanted != environment:
        for name in environment.keys() - wanted.keys():
            del os.environ[name]
        for name, value in wanted.items():
            if environment.get(name) != value:
                os.environ[name] = value
    os.chdir(step["cwd"])


def _hold(pid_file: str, identity: str) -> None:
    """Lock the pid file for as long as this process or a fork of it lives."""
    held = os.open(pid_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os._exit(EXIT_BUSY)
    os.pwrite(held, identity.encode(), 0)
    os.set_inheritable(held, True)


def _redirect(log: str) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.close(nothing)
    os.close(output)


def _limit(limits: dict[str, Any]) -> None:
    """Let an allocation far beyond the limit fail; what is held is looked at from outside (`waiting`)."""
    if limits.get("processors"):
        os.sched_setaffinity(0, limits["processors"])
    if limits.get("memory_bytes"):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = 2 * int(limits["memory_bytes"]) + SLACK_BYTES
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, wanted))


def _prefer_to_die() -> None:
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write(OUT_OF_MEMORY_SCORE)
    except OSError:
        pass  # not every container lets a process change its own


def perform(folder: str, step: dict[str, Any]) -> NoReturn:
    """Run the component, note how it ended, and end."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
    started_ms, started = time.time_ns() // 1_000_000, time.perf_counter()
    code, cause, reason = 1, None, None
    try:
        code = _command(step["argv"]) if "argv" in step else _execute(step)
        cause, reason = (f"exit code {code}", "Exited") if code else (None, None)
    except SystemExit as end:
        code, cause = _exited(end)
        reason = "Exited" if code else None
    except MemoryError as error:
        traceback.print_exception(type(error), error, _without_ours(error), file=sys.stderr)
        limit = step["limits"].get("memory_bytes")
        allowed = f": an allocation failed, its limit is {limit >> 20} MiB" if limit else " (MemoryError)"
        cause, reason = f"out of memory{allowed}", "OutOfMemory"
    except BaseException as error:
        traceback.print_exception(type(error), error, _without_ours(error), file=sys.stderr)
        cause, reason = _cause(error), "Failed"
    _wind_down()
    _flush()
    ended = {
        "boot": step["boot"],
        "exit_code": code,
        "started_ms": started_ms,
        "finished_ms": time.time_ns() // 1_000_000,
        "run_ms": round((time.perf_counter() - started) * 1000, 3),
        "error": cause,
        "reason": reason,
    }
    with open(f"{folder}/control/ended.json", "wb", buffering=0) as file:  # at once, or not at all
        file.write(json.dumps(ended).encode())
    os._exit(code)


def _command(argv: list[str]) -> int:
    """Run a container component's command as a child of this process, which tells its end."""
    import subprocess

    try:
        code = subprocess.call(argv)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no program {argv[0]!r} on this machine") from error
    if code < 0:  # the signal ends this process too, so that its parent sees what happened
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def _execute(step: dict[str, Any]) -> int:
    if "_KFP_RUNTIME" not in os.environ:
        os.environ["_KFP_RUNTIME"] = "true"
    from kfp.dsl import executor, executor_main
    from kfp.dsl.types import artifact_types

    _map_paths(artifact_types, step["mounts"])
    sys.modules["__main__"] = (
        executor_main  # as under `python -m kfp.dsl.executor_main`, which multiprocessing looks at
    )
    source, function, given = step["source"], step["function"], json.dumps(step["executor_input"])
    sys.argv = [str(executor_main.__file__), *(["--component_module_path", source] if source else [])]
    sys.argv += ["--executor_input", given, "--function_to_execute", function]
    if tempfile := sys.modules.get("tempfile"):
        tempfile.tempdir = None  # type: ignore[attr-defined]  # the parent's choice
    if (numpy := sys.modules.get("numpy")) and "numpy.random" in sys.modules:
        numpy.random.seed()  # a fork would otherwise draw what every other fork draws
    if not source:  # the component is in its image, and kfp_config.ini in the working directory says where
        executor_main.executor_main()
        return 0
    set_up_logging()
    component = getattr(loaded(source), function)
    logging.root.info("Got executor_input: %s", given)
    executor.Executor(executor_input=step["executor_input"], function_to_execute=component).execute()
    return 0


def set_up_logging() -> None:
    """Let the component's INFO be told on its standard output, as kfp's `executor_main` does."""
    if not logging.root.handlers:
        logging.basicConfig(
            stream=sys.stdout, format="[KFP Executor %(asctime)s %(levelname)s]: %(message)s", level=logging.INFO
        )


def loaded(source: str) -> Any:
    """Import the component, of whose code nothing is kept: it is loaded once."""
    from kfp.dsl import utils

    directory, _, file = source.rpartition("/")
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        return utils.load_module(module_name=file.removesuffix(".py"), module_directory=directory)
    finally:
        sys.dont_write_bytecode = before


def _map_paths(artifact_types: Any, mounts: dict[str, str]) -> None:
    """Let kfp map `<scheme>://<rest>` to `<mount>/<rest>` and back."""
    get_path, to_remote = artifact_types.Artifact._get_path, artifact_types.convert_local_path_to_remote_path

    def path_of(artifact: Any) -> str | None:
        scheme, found, rest = artifact.uri.partition("://")
        if found and scheme in mounts and not getattr(artifact, "custom_path", ""):
            return f"{mounts[scheme]}/{rest}"
        path: str | None = get_path(artifact)
        return path

    def remote_of(path: str) -> str:
        for scheme, mount in mounts.items():
            if str(path).startswith(mount + "/"):
                return f"{scheme}://{str(path)[len(mount) + 1 :]}"
        remote: str = to_remote(path)
        return remote

    artifact_types.Artifact._get_path = path_of
    artifact_types.convert_local_path_to_remote_path = remote_of


def _wind_down() -> None:
    """Do what the interpreter does at its end: wait for threads, call what was registered for the exit."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()


def _exited(end: SystemExit) -> tuple[int, str | None]:
    if end.code is None or end.code == 0:
        return 0, None
    if isinstance(end.code, int):
        return end.code & 0xFF, f"exit code {end.code & 0xFF}"
    sys.stderr.write(f"{end.code}\n")
    return 1, f"exit code 1: {_first_line(end.code)}"


def _cause(error: BaseException) -> str:
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    name = name.removeprefix("ephemeral_component.")
    said = _first_line(error.msg if isinstance(error, SyntaxError) else error)
    return f"{name}: {said}" if said else name


def _first_line(value: object) -> str:
    try:
        lines = str(value).strip().splitlines()
    except Exception:
        return "<no text: its __str__ raised>"
    line = lines[0][:MAX_CAUSE_CHARS] if lines else ""
    return line.replace("\0", "\\x00").encode(errors="backslashreplace").decode()  # no database holds these


def _without_ours(error: BaseException) -> Any:
    """Return the error's traceback from the component on, or all of it when the component was not reached."""
    here, trace = str(Path(__file__).parent), error.__traceback__
    kfp = str(Path(getattr(sys.modules.get("kfp"), "__file__", None) or "/kfp/").parent)
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith((here, kfp, "<frozen importlib")):
        trace = trace.tb_next
    return trace or error.__traceback__


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue


def told(descriptor: int) -> dict[str, Any]:
    """Read what is to be done, which any number of readers may do."""
    step: dict[str, Any] = json.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))
    return step


def fork_main(
    parent: int, orders: socket.socket, environment: dict[str, str], rehearse: Callable[[], None] | None
) -> NoReturn:
    """Go on, in a process that was just forked, as that of the attempt which `orders` will name; never returns.

    It does `rehearse` when it has to wait for its orders.
    """
    try:
        identity = leave(parent, orders.fileno())
        if rehearse is not None and not select.select([orders], [], [], 0)[0]:
            rehearse()
        message, descriptors, _, _ = socket.recv_fds(orders, MAX_MESSAGE_BYTES, 1)
        if not message:
            os._exit(0)
        orders.close()
        wanted, descriptor = json.loads(message), descriptors[0]
        folder, python, step = wanted["folder"], wanted["python"], told(descriptor)
        enter(folder, step, environment, identity)
        if python is not None:
            os.set_inheritable(descriptor, True)
            argv = [python, "-P", __file__, folder, str(descriptor)]
            os.execve(python, argv, dict(os.environ))  # noqa: S606 - no shell is wanted
        os.close(descriptor)
        perform(folder, step)
    except BaseException:
        traceback.print_exc()
        _flush()
    os._exit(EXIT_BUSY)


PRCTL = ctypes.CDLL(None, use_errno=True).prctl


def main() -> None:
    """Run the attempt in the folder that the command line names, in a process that `fork_main` has prepared."""
    folder, descriptor = sys.argv[1], int(sys.argv[2])
    step = told(descriptor)
    os.close(descriptor)
    perform(folder, step)


if __name__ == "__main__":
    main()
