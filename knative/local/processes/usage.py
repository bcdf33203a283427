"""What processes use of this machine, read from /proc when somebody asks.

A container is its process with all that descends from it or shares its session; memory that processes share through a
fork is divided among them (PSS), so that Pods add up. Source: proc_pid_stat(5), proc_pid_smaps(5), proc_stat(5).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from zeroflow.knative.local.api.rest.metrics import Use
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import Places

Place = tuple[str, str, str]
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessUsage:
    """Measures the containers that a launcher runs, and the machine."""

    def __init__(self, launcher: Launcher, home: Places) -> None:
        self._launcher, self._home = launcher, home

    async def containers(self, places: Sequence[Place], window_s: float) -> dict[Place, Use]:
        """Return what containers use; those that do not run are left out."""
        by_log = {process.spec.log: process.pid for process in self._launcher.running()}
        pids = {place: by_log[log] for place in places if (log := self._home.pod_log(*place)) in by_log}
        roots = set(pids.values())
        began = time.monotonic()
        before = await asyncio.to_thread(_ticks, roots)
        await asyncio.sleep(window_s)
        after = await asyncio.to_thread(_ticks, roots)
        passed_s = time.monotonic() - began
        memory = await asyncio.to_thread(_memory, {root: members for root, (_, members) in after.items()})
        found = {}
        for place, pid in pids.items():
            ticks = max(0, after[pid][0] - before[pid][0])
            if after[pid][1]:
                found[place] = Use(ticks / TICKS / passed_s, memory[pid])
        return found

    async def machine(self, window_s: float) -> Use:
        """Return what all processes of this machine use."""
        busy, began = _busy_ticks(), time.monotonic()
        await asyncio.sleep(window_s)
        cores = (_busy_ticks() - busy) / TICKS / (time.monotonic() - began)
        fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {name: int(fields[name].split()[0]) for name in ("MemTotal", "MemAvailable")}
        return Use(cores, (kib["MemTotal"] - kib["MemAvailable"]) * 1024)


def _ticks(roots: Collection[int]) -> dict[int, tuple[int, list[int]]]:
    """Return, for each root, the ticks of processor time of its processes so far, and those processes."""
    parents: dict[int, tuple[int, int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                fields = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                parent, session = int(fields[1]), int(fields[3])
                parents[int(entry.name)] = parent, session, sum(map(int, fields[11:15]))  # its own, and waited-for
    found: dict[int, tuple[int, list[int]]] = {root: (0, []) for root in roots}
    for pid, (_, session, ticks) in parents.items():
        root = session if session in found else _ancestor(pid, parents, found)
        if root:
            total, members = found[root]
            found[root] = total + ticks, [*members, pid]
    return found


def _ancestor(pid: int, parents: dict[int, tuple[int, int, int]], roots: Collection[int]) -> int:
    """Return the root that a process is or descends from; 0 when there is none."""
    while pid and pid not in roots:
        pid = parents[pid][0] if pid in parents else 0
    return pid


def _memory(members: dict[int, list[int]]) -> dict[int, int]:
    return {root: sum(map(_pss_bytes, pids)) for root, pids in members.items()}


def _pss_bytes(pid: int) -> int:
    with suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    with suppress(OSError, ValueError):  # a kernel without it, or a process of another user
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return 0


def _busy_ticks() -> int:
    """Return the ticks that all processors have worked: all but idle and waiting for the disk."""
    user, nice, system, _, _, *others = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    return user + nice + system + sum(others)
