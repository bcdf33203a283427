"""Runs a trial's command and collects beside it: `main.py CONFIG PATH -- COMMAND...`.

PATH is the file or directory that is read, a word of its own because a host may put another in its place; `-` is none.
CONFIG is JSON: `kind`, `format`, `port`, `httpPath` and `command` of the collector, `metrics` (the objective first),
`filters`, `maximize`, `rules` and `needAll`, `push` and `inherit`.

Lines read elsewhere than in the output are added to it with a mark, so that the trial's log has everything and outlives
the process. The command stays in this process group and dies with this process; its exit code is passed on. A trial
that is ended by a rule counts as complete: the code is 0, and a line says which rule it was.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.functions.trial.collector import lines
from zeroflow.functions.trial.collector.lines import MARK, STOPPED, Measured
from zeroflow.functions.trial.collector.rules import Rule, Rules
from zeroflow.functions.trial.collector.tail import LINE_LIMIT

LOOK_EVERY_S = {"File": 0.1, "TensorFlowEvent": 0.5, "PrometheusMetric": 1.0}
GRACE_S = 5.0
"""How long a program that is ended early may take to clean up."""
DRAIN_S = 1.0
"""How long output is read after the command has ended while something that it started still holds it."""
COLLECTOR_GRACE_S = 60.0
"""How long a custom collector may go on after the trial, as in Katib."""
PR_SET_PDEATHSIG = 1

Source = Callable[[bool], Iterable[str]]
"""Returns the lines that are new; asked one last time with True when the trial has ended."""


@dataclass
class Collector:
    """What is collected of one trial."""

    read: Callable[[str], list[Measured]]
    rules: Rules
    source: Source | None
    look_every_s: float

    def look(self, last: bool = False) -> Rule | None:
        """Add what is new to the log; return the rule that ends the trial."""
        for line in self.source(last) if self.source is not None else ():
            say(MARK + line)
            if (rule := self.heed(line)) is not None:
                return rule
        return None

    def heed(self, line: str) -> Rule | None:
        """Apply the rules to one line."""
        return self.rules.heed(self.read(line)) if self.rules.pending else None


def main() -> int:
    """Run; return the exit code."""
    config, command = {**json.loads(sys.argv[1]), "path": sys.argv[2]}, sys.argv[4:]
    wake_up, wake_end = os.pipe()
    os.set_blocking(wake_end, False)
    signal.set_wakeup_fd(wake_end)
    for number in (signal.SIGCHLD, signal.SIGTERM):  # the whole group gets SIGTERM; this process waits for the rest
        signal.signal(number, lambda *_: None)
    if config.get("inherit"):
        from zeroflow.functions.trial.collector.inheriting import inherit

        inherit(config["inherit"])
    collector = collector_of(config)
    watches_output = collector.source is None and bool(collector.rules.pending)
    env = environment(config)
    if pushed := config.get("push"):
        from zeroflow.functions.trial.collector import push

        listener = push.listen()
        env |= push.environment(pushed, env, listener)
    try:
        child = start(command, env, watches_output)
    except OSError as error:
        say(f"cannot run {command[0]!r}: {error.strerror}")
        return 127 if isinstance(error, FileNotFoundError) else 126
    beside = start(config["command"], env, False) if config.get("command") else None
    if pushed:
        push.serve(listener, pushed["address"])  # after the forks: they are to copy no threads
    rule = follow(child, collector, wake_up)
    if rule is not None:
        end(child)
        collector.look(last=True)
        say(STOPPED + str(rule))
        return 0
    if beside is not None and not finished(beside, COLLECTOR_GRACE_S):
        say(f"the custom collector did not end within {COLLECTOR_GRACE_S:g} s")
        beside.kill()
    code = child.returncode
    return int(code) if code >= 0 else 128 - code


def follow(child: subprocess.Popen[bytes], collector: Collector, wake_up: int) -> Rule | None:
    """Pass on what the command prints, and look for metrics, until it ends or a rule ends it."""
    output = Output(child.stdout.fileno()) if child.stdout is not None else None
    deadline: float | None = None
    while True:
        waiting = [wake_up, *([output.descriptor] if output is not None and not output.ended else [])]
        timeout = collector.look_every_s if collector.source is not None else None
        ready, _, _ = select.select(waiting, [], [], 0.0 if deadline is not None and not timeout else timeout)
        if wake_up in ready:
            os.read(wake_up, 4096)
        if output is not None and output.descriptor in ready:
            for line in output.new():
                if (rule := collector.heed(line)) is not None:
                    return rule
        if (rule := collector.look()) is not None:
            return rule
        if child.poll() is None:
            continue
        if output is None or output.ended or (deadline is not None and time.monotonic() > deadline):
            return collector.look(last=True)
        deadline = deadline or time.monotonic() + DRAIN_S


@dataclass
class Output:
    """The output of the command, passed on as it comes."""

    descriptor: int
    ended: bool = False
    _rest: bytes = b""

    def new(self) -> Iterator[str]:
        """Pass on what is there and yield the lines that it finishes."""
        chunk = os.read(self.descriptor, 65536)
        self.ended = not chunk
        with suppress(BrokenPipeError):
            write(chunk)
        *whole, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[:LINE_LIMIT]
        if self.ended and self._rest:
            whole.append(self._rest)
        yield from (line.decode("utf-8", "replace") for line in whole)


def collector_of(config: Mapping[str, Any]) -> Collector:
    """Build what CONFIG asks for."""
    metrics, kind = config["metrics"], config["kind"]
    rules = Rules(
        objective=metrics[0],
        maximize=bool(config.get("maximize")),
        pending=[Rule.read(each) for each in config.get("rules") or ()],
        need_all=bool(config.get("needAll", True)),
    )
    return Collector(_reader(config), rules, _source(kind, config, metrics), LOOK_EVERY_S.get(kind, 1.0))


def _reader(config: Mapping[str, Any]) -> Callable[[str], list[Measured]]:
    metrics = config["metrics"]
    if config["kind"] in ("TensorFlowEvent", "PrometheusMetric"):
        return lambda line: lines.in_pairs(line, metrics)
    if config.get("format") == "JSON":
        return lambda line: _json(line, metrics)
    patterns = lines.compiled(config.get("filters"))
    return lambda line: lines.in_text(line, metrics, patterns)


def _json(line: str, metrics: Sequence[str]) -> list[Measured]:
    try:
        return lines.in_json(line, metrics)
    except ValueError:  # the function says so when it reads the log
        return []


def _source(kind: str, config: Mapping[str, Any], metrics: Sequence[str]) -> Source | None:
    if kind == "File":
        from zeroflow.functions.trial.collector.tail import Tail

        tail = Tail(Path(config["path"]))
        return lambda last: tail.new(last=last)
    if kind == "TensorFlowEvent":
        from zeroflow.functions.trial.collector.tfevents import Events

        events = Events(Path(config["path"]), metrics)
        return lambda _: events.new()
    if kind == "PrometheusMetric":
        from zeroflow.functions.trial.collector.prometheus import Scrape

        scrape = Scrape(int(config["port"]), config["httpPath"], metrics)
        return lambda last: () if last else scrape.new()
    return None


def environment(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment of the command: its own, unbuffered where Python prints what rules are applied to."""
    env = dict(os.environ)
    if config.get("rules"):
        env.setdefault("PYTHONUNBUFFERED", "1")
    return env


def start(command: Sequence[str], env: Mapping[str, str], piped: bool) -> subprocess.Popen[bytes]:
    """Start a program in this process group that dies with this process."""
    libc, parent = ctypes.CDLL(None), os.getpid()

    def die_with_parent() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return subprocess.Popen(
        command,
        env=dict(env),
        stdout=subprocess.PIPE if piped else None,
        stderr=subprocess.STDOUT if piped else None,
        preexec_fn=die_with_parent,  # noqa: PLW1509  # no thread has been started yet
    )


def end(child: subprocess.Popen[bytes]) -> None:
    """End the command and what it has started: SIGTERM, and SIGKILL after a grace."""
    os.killpg(0, signal.SIGTERM)  # this process only wakes up by it
    deadline = time.monotonic() + GRACE_S
    while (others := _group()) and time.monotonic() < deadline:
        child.poll()
        time.sleep(0.02)
    for pid in others:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def finished(process: subprocess.Popen[bytes], timeout_s: float) -> bool:
    """Wait for a process to end; say whether it has."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return False
    return True


def _group() -> list[int]:
    """Return the other processes of this process group that have not ended."""
    own, group, found = os.getpid(), os.getpgrp(), []
    for name in os.listdir("/proc"):
        if not name.isdecimal() or int(name) == own:
            continue
        try:
            state = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        if state[0] != b"Z" and int(state[2]) == group:
            found.append(int(name))
    return found


def say(line: str) -> None:
    """Add a line to the trial's log."""
    write(line.encode() + b"\n")


def write(data: bytes) -> None:
    """Write all of it to standard output."""
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    sys.exit(main())
