"""Mixed load for minutes while functions and the host itself are killed: no event is lost, none is applied twice.

`python -m benchmarks.soak --minutes 30` (make soak). Three loads run at once against one `zeroflow up`: events through
a broker to a function that applies each `(source, id)` once and replies with another event, requests through the
gateway to a function that scales to zero and back, and writes to the resource API. Every few seconds something is
killed with SIGKILL: a function's process, a fork server, or the host, which is started again on the same home. In the
last two fifths of the time the host is spared, so that what it keeps in memory shows: its size each second gives a
slope.

What must hold at the end is checked and printed; the exit code is 1 when it does not: no event lost, none applied
twice, flat memory, every event that met a running host accepted with 202, and every request that did answered with 200,
whatever was killed behind it. Only an answer that a kill has cut in two is nobody's to repair, since its head is with
the client: at most one for each kill.
A sender repeats an event that was not accepted (the host was down), under the same id, as CloudEvents' senders do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import urllib3

APPLIES = """
import os, sqlite3
from contextlib import closing

PATH = os.environ["LEDGER"]
with closing(sqlite3.connect(PATH, timeout=60)) as db:
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE IF NOT EXISTS applied (id TEXT PRIMARY KEY, times INTEGER)")
    db.execute("CREATE TABLE IF NOT EXISTS effects (id TEXT)")


def application(environ, start_response):
    environ["wsgi.input"].read()
    name = environ["HTTP_CE_ID"]
    with closing(sqlite3.connect(PATH, timeout=60)) as db, db:
        known = db.execute("INSERT OR IGNORE INTO applied VALUES (?, 1)", (name,)).rowcount == 0
        if not known:  # what an idempotent handler does: the effect and its mark are one transaction
            db.execute("INSERT INTO effects VALUES (?)", (name,))
    if environ["HTTP_CE_TYPE"] == "soak.asked":
        reply = [("Ce-Specversion", "1.0"), ("Ce-Type", "soak.answered"), ("Ce-Source", "/soak")]
        start_response("200 OK", [*reply, ("Ce-Id", f"{name}.reply"), ("Content-Length", "0")])
    else:
        start_response("202 Accepted", [("Content-Length", "0")])
    return [b""]
"""
ASKED = """
import time


def application(environ, start_response):
    time.sleep(0.005)
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
"""
NUMBER = re.compile(r"\d+")
API = "/apis/serving.knative.dev/v1/namespaces/default/services"
SETTLE_S = 180.0
DOWN_S = 0.2  # between two questions to a host that is down: it is to start, not to be hammered
KILL_EVERY_S = (2.0, 6.0)
HOST_EVERY = 6  # every so many kills it is the host
SPARED = 0.4  # of the time, at the end: the host lives on
WARM_S = 30.0  # what a host takes until its caches are full says nothing of its slope
MEMORY_SLACK_MB = 25.0
ANSWERED = "requests: 200"
KILLS = "kills of functions and fork servers"


class Host:
    """A `zeroflow up` that may be killed and started again on the same home."""

    def __init__(self, home: Path) -> None:
        self._home, self._port = home, 0
        self.process: subprocess.Popen[str] | None = None
        self.starts = 0
        self.start_s: list[float] = []
        self.life: int | None = None
        """The number of its start, None while it is down or starting."""

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://localhost:{self._port}"

    def start(self) -> None:
        """Start, and return when it answers."""
        command = [sys.executable, "-m", "zeroflow", "up", "--home", str(self._home), "--port", str(self._port)]
        begun = time.monotonic()
        log = (self._home.parent / "host.log").open("a")
        self.process = subprocess.Popen(
            [*command, "--stable-window", "6"], stdout=subprocess.PIPE, stderr=log, text=True
        )
        assert self.process.stdout is not None
        if not self.process.stdout.readline().startswith("zeroflow is up"):
            raise RuntimeError(f"the host did not start: {(self._home.parent / 'host.log').read_text()[-2000:]}")
        self._port = int(json.loads((self._home / "host.json").read_text())["url"].rsplit(":", 1)[1])
        self.starts += 1
        self.start_s.append(time.monotonic() - begun)
        self.life = self.starts

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.life = None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it gently."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(timeout=60)

    def rss_mb(self) -> float:
        """Return the memory of the host's own process."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    def children(self) -> list[int]:
        """Return every process below the host's own."""
        assert self.process is not None
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                    parents.setdefault(int(stat[1]), []).append(int(entry.name))
        found, queue = [], [self.process.pid]
        while queue:
            below = parents.get(queue.pop(), [])
            found += below
            queue += below
        return found


class Soak:
    """The loads, the kills and what they have done."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.over = threading.Event()
        self.accepted: set[str] = set()
        self.counted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.cut = 0
        self.took_s: dict[str, list[float]] = {}
        self.memory: list[tuple[float, int, float]] = []
        """Of each second: when, which life of the host, and the host's memory in MB."""
        self._http = urllib3.PoolManager(maxsize=32, retries=False, timeout=urllib3.Timeout(connect=2, read=60))

    def ask(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse | None:
        """Send a request; None when nothing answers (the host is down)."""
        try:
            return self._http.request(method, self.host.url + path, **options)
        except urllib3.exceptions.HTTPError:
            return None

    def answered(self, what: str, wanted: int, method: str, path: str, **options: Any) -> bool:
        """Ask and count the answer: as wanted, or the host was down, or a running host has cut off or refused it."""
        life, begun = self.host.life, time.monotonic()
        answer = self.ask(method, path, **options)
        if answer is not None and answer.status == wanted:
            self.counted[f"{what}: {wanted}"] += 1
            self.took_s.setdefault(what, []).append(time.monotonic() - begun)
            return True
        if life is None or life != self.host.life:
            self.counted[f"{what}: host down"] += 1
            time.sleep(DOWN_S)
        elif answer is None:
            self.cut += 1
        else:
            said = NUMBER.sub("N", answer.data.decode(errors="replace"))[:160]
            self.refused[f"{what}: {answer.status} {said}"] += 1
        return False

    def events(self, lane: int) -> None:
        """Send events, each until it is accepted."""
        number = 0
        while not self.over.is_set():
            name = f"{lane}-{number}"
            number += 1
            headers = {"Ce-Specversion": "1.0", "Ce-Id": name, "Ce-Source": "/soak", "Ce-Type": "soak.asked"}
            options: dict[str, Any] = {"headers": headers, "body": b"x" * 500}
            while not self.answered("events", 202, "POST", "/eventing/default/default", **options):
                time.sleep(0.1)
            self.accepted.add(name)
            time.sleep(0.02)

    def requests(self) -> None:
        """Ask the gateway; what a running host has not answered with 200 is counted by what was said instead."""
        while not self.over.is_set():
            pause = random.random() < 0.02
            self.answered("requests", 200, "GET", "/serving/default/asked/")
            time.sleep(8.0 if pause else 0.02)  # long enough to fall asleep, now and then

    def writes(self) -> None:
        """Create and delete ConfigMaps."""
        number = 0
        while not self.over.is_set():
            path, name = "/api/v1/namespaces/default/configmaps", f"soak-{number}"
            number += 1
            made = {"metadata": {"name": name}, "data": {"a": "b" * 1000}}
            if self.answered("writes", 201, "POST", path, json=made):
                self.answered("deletions", 200, "DELETE", f"{path}/{name}")
            time.sleep(0.05)

    def kills(self, minutes: float) -> None:
        """Kill something every few seconds."""
        turn, until = 0, time.monotonic() + minutes * 60
        spared = until - minutes * 60 * SPARED
        while time.monotonic() < until:
            time.sleep(random.uniform(*KILL_EVERY_S))
            self._recovered(until)
            turn += 1
            if turn % HOST_EVERY == 0 and time.monotonic() < spared:
                self.host.kill()
                self.counted["kills of the host"] += 1
                self.host.start()
            elif children := self.host.children():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(random.choice(children), signal.SIGKILL)
                    self.counted[KILLS] += 1

    def _recovered(self, until: float) -> None:
        """Wait until a request has been answered since: on a busy machine nothing else would ever get to work."""
        answered = self.counted[ANSWERED]
        while self.counted[ANSWERED] == answered and time.monotonic() < until:
            time.sleep(0.1)

    def weigh(self) -> None:
        """Note the memory of the host each second."""
        while not self.over.wait(1.0):
            if (life := self.host.life) is not None:
                with contextlib.suppress(OSError, IndexError):  # killed in this moment
                    self.memory.append((time.monotonic(), life, self.host.rss_mb()))

    def spared(self) -> list[tuple[float, float]]:
        """Return seconds and memory of the last life of the host, once it was warm."""
        last = [(at, mb) for at, life, mb in self.memory if life == self.host.starts]
        return [(at - last[0][0], mb) for at, mb in last if at - last[0][0] > WARM_S]


def service(name: str, module: str, folder: Path, **env: str) -> dict[str, Any]:
    """Return a Service of a gunicorn function."""
    variables = {"PYTHONPATH": str(folder), **env}
    container = {
        "image": name,
        "command": ["gunicorn"],
        "args": ["--threads=8", f"{module}:application"],
        "env": [{"name": key, "value": value} for key, value in variables.items()],
    }
    annotations = {"zeroflow.dev/runtime": "function"}
    template = {"metadata": {"annotations": annotations}, "spec": {"containers": [container]}}
    return {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": template},
    }


def prepare(soak: Soak, folder: Path) -> None:
    """Declare functions, broker and trigger."""
    (folder / "soak_applies.py").write_text(APPLIES)
    (folder / "soak_asked.py").write_text(ASKED)
    ref = {"apiVersion": "serving.knative.dev/v1", "kind": "Service", "name": "applies"}
    eventing = "/apis/eventing.knative.dev/v1/namespaces/default"
    delivery = {"retry": 100, "backoffPolicy": "linear", "backoffDelay": "PT0.05S"}
    trigger = {"broker": "default", "subscriber": {"ref": ref}, "delivery": delivery}
    for path, obj in (
        (API, service("applies", "soak_applies", folder, LEDGER=str(folder / "ledger.sqlite"))),
        (API, service("asked", "soak_asked", folder)),
        (f"{eventing}/brokers", declared("Broker", "default", {})),
        (f"{eventing}/triggers", declared("Trigger", "all", trigger)),
    ):
        answer = soak.ask("POST", path, json=obj)
        assert answer is not None, path
        assert answer.status == 201, answer.data


def declared(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Return an object of eventing.knative.dev."""
    return {"apiVersion": "eventing.knative.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def settled(soak: Soak, ledger: Path) -> tuple[set[str], Counter[str]]:
    """Wait until every accepted event and its reply are applied, or nothing moves any more."""
    wanted = soak.accepted | {f"{name}.reply" for name in soak.accepted}
    effects: Counter[str] = Counter()
    before, since = -1, time.monotonic()
    while True:
        with contextlib.closing(sqlite3.connect(ledger)) as db:
            effects = Counter(name for (name,) in db.execute("SELECT id FROM effects"))
        missing = wanted - set(effects)
        if len(effects) != before:
            before, since = len(effects), time.monotonic()
        if not missing or time.monotonic() - since > SETTLE_S:
            return missing, effects
        time.sleep(0.5)


def main() -> int:
    """Run the soak and print what has been found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    given = parser.parse_args()
    random.seed(given.seed)
    with tempfile.TemporaryDirectory(prefix="zeroflow-soak-") as where:
        folder = Path(where)
        host = Host(folder / "home")
        (folder / "home").mkdir()
        host.start()
        soak = Soak(host, folder)
        try:
            prepare(soak, folder)
            loads = [threading.Thread(target=soak.events, args=(lane,)) for lane in range(4)]
            loads += [threading.Thread(target=soak.requests) for _ in range(3)] + [threading.Thread(target=soak.writes)]
            loads += [threading.Thread(target=soak.weigh)]
            for load in loads:
                load.start()
            soak.kills(given.minutes)
            soak.over.set()
            for load in loads:
                load.join()
            missing, effects = settled(soak, folder / "ledger.sqlite")
            end_mb = host.rss_mb()
        finally:
            soak.over.set()
            host.stop()
    return report(soak, missing, effects, end_mb, given.minutes)


def report(soak: Soak, missing: set[str], effects: Counter[str], end_mb: float, minutes: float) -> int:
    """Print the figures; return 1 when a promise was broken."""
    twice = [name for name, times in effects.items() if times > 1]
    print(f"{minutes:g} minutes, {soak.host.starts} starts of the host")
    print(f"events sent {len(soak.accepted)}, applied {len(effects)} with replies")
    print(f"lost {len(missing)}, applied twice {len(twice)}, refused {soak.refused.total()}")
    for key, count in sorted(soak.counted.items()):
        print(f"{key:<40}{count:9}")
    print(f"{'answers cut off':<40}{soak.cut:9}")
    for what, times in {**soak.took_s, "starts of the host": soak.host.start_s}.items():
        in_order = sorted(times)
        median, late = in_order[len(times) // 2], in_order[len(times) * 99 // 100]
        print(f"{what:<20} took {median:.3f} s at the median, {late:.2f} s at p99, at most {in_order[-1]:.1f} s")
    for said, count in soak.refused.most_common():
        print(f"  refused {count} times: {said}")
    most = max((mb for _, _, mb in soak.memory), default=0.0)
    per_minute, grown = slope(soak.spared())
    print(f"memory of the host: at most {most:.0f} MB, in the end {end_mb:.0f} MB")
    if points := soak.spared():
        told = [f"{at / 60:.1f} min {mb:.1f} MB" for at, mb in points[:: len(points) // 8 or 1]]
        minutes_seen = (points[-1][0] - points[0][0]) / 60
        print(f"  in its last life: {', '.join(told)}")
        print(f"  slope {per_minute:+.2f} MB a minute, {grown:+.1f} MB over {minutes_seen:.1f} minutes")
    problems = []
    if missing:
        problems.append(f"lost events: {sorted(missing)[:5]}")
    if twice:
        problems.append(f"applied twice: {twice[:5]}")
    if soak.refused:
        problems.append(f"a running host refused {soak.refused.total()} times")
    if soak.cut > soak.counted[KILLS]:
        problems.append(f"{soak.cut} answers were cut off by {soak.counted[KILLS]} kills")
    if grown > MEMORY_SLACK_MB:
        problems.append(f"the host has grown by {grown:.0f} MB")
    for problem in problems:
        print(f"BROKEN: {problem}", file=sys.stderr)
    return 1 if problems else 0


def slope(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Return the least-squares slope of memory in MB a minute, and what that makes over the time."""
    if len(points) < 2:
        return 0.0, 0.0
    mean_s, mean_mb = (sum(each) / len(points) for each in zip(*points, strict=True))
    per_s = sum((s - mean_s) * (mb - mean_mb) for s, mb in points) / sum((s - mean_s) ** 2 for s, _ in points)
    return per_s * 60, per_s * (points[-1][0] - points[0][0])


if __name__ == "__main__":
    sys.exit(main())
