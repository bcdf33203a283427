"""How much of the machine a step may take: memory of all its processes together, and processors.

Without control groups of its own a process is held by what every process may ask of the kernel: allocation fails far
beyond the limit (RLIMIT_DATA), which catches one that asks for too much at once; what the processes of a step hold
together is looked at several times a second, and the step is ended when that is more than the limit. Processors are
those that it may run on, in whole ones.
"""

import math
import os
import random
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.resources.quantities import amount


@dataclass(frozen=True)
class Limits:
    """What a step may take; None where nothing is said."""

    memory_bytes: int | None = None
    processors: int | None = None
    """Whole processors, at least one: half of one is not enforced."""

    @classmethod
    def of(cls, platform: Mapping[str, Any]) -> "Limits":
        """Read `resources.limits` of what is asked for the step's pod."""
        limits = (platform.get("resources") or {}).get("limits") or {}
        memory, cpu = limits.get("memory"), limits.get("cpu")
        return cls(
            int(amount(memory)) if memory else None,
            max(1, math.ceil(amount(cpu))) if cpu else None,
        )

    def as_json(self) -> dict[str, Any]:
        """Return what the step's process does to itself before it begins."""
        there = sorted(os.sched_getaffinity(0))
        chosen = None
        if self.processors is not None and self.processors < len(there):
            chosen = sorted(random.sample(there, self.processors))
        return {"memory_bytes": self.memory_bytes, "processors": chosen}


def held_bytes(pid: int) -> int:
    """Return the memory that a process and all below it hold, what they share with others counted in part."""
    return sum(map(_proportional_bytes, _family(pid)))


def _family(pid: int) -> Iterator[int]:
    waiting = [pid]
    while waiting:
        found = waiting.pop()
        yield found
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{found}/task"):
                with suppress(OSError):
                    waiting += map(int, Path(f"/proc/{found}/task/{thread}/children").read_text().split())


def _proportional_bytes(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
