"""The logs of a run's steps in the terminal, also while they grow."""

import sys
import time
from typing import Any

from zeroflow.cli.host import Refused
from zeroflow.cli.kfp import API, Runs, step_path
from zeroflow.cli.progress import FINAL
from zeroflow.errors import InvalidInput

PAUSE_S = 0.25


def print_logs(runs: Runs, run_id: str, step: str | None, attempt: int, *, follow: bool) -> None:
    """Print the log of a step, or of all steps with their names in front; following, until the run or step ends."""
    offsets: dict[tuple[str, int], int] = {}
    while True:
        look = runs.get(run_id, "/tasks")
        tasks = [task for task in look["tasks"] if task["kind"] == "step"]
        if step is not None:
            name = runs.get(run_id, step_path(step))["name"]
            tasks = [task for task in tasks if task["name"] == name]
            if not tasks:
                raise InvalidInput(f"{step} is no step of the run but has steps below it; name one of them")
        for task in tasks:
            _more(runs, run_id, task, attempt, offsets, prefixed=step is None)
        over = look["state"] in FINAL or (step is not None and all(task["state"] in FINAL for task in tasks))
        if not follow or over:
            if step is not None and not offsets:
                raise Refused(404, _silent(tasks[0]))
            return
        time.sleep(PAUSE_S)


def _more(
    runs: Runs, run_id: str, task: dict[str, Any], attempt: int, offsets: dict[tuple[str, int], int], *, prefixed: bool
) -> None:
    """Print what a step's attempts have written since the last look."""
    numbers = [attempt] if attempt else range(1, task["attempt"] + 1)
    for number in numbers if prefixed or attempt else list(numbers)[-1:]:
        at = offsets.get((task["name"], number), 0)
        try:
            path = f"{API}/runs/{run_id}{step_path(task['name'])}/log?attempt={number}&offset={at}"
            text = runs.host.raw(path)
        except Refused as error:
            if error.status != 404:
                raise
            continue
        if not text and (task["name"], number) in offsets:
            continue
        offsets[task["name"], number] = at + len(text)
        _write(text.decode(errors="replace"), f"{task['name']} | " if prefixed else "")


def _write(text: str, prefix: str) -> None:
    if not prefix:
        sys.stdout.write(text)
    else:
        sys.stdout.writelines(f"{prefix}{line}\n" for line in text.splitlines())
    sys.stdout.flush()


def _silent(task: dict[str, Any]) -> str:
    if task["cache_hit"]:
        return f"{task['name']} has no log: its outputs were reused from task {task['cached_from_task_id']}"
    return f"{task['name']} has no log yet: its state is {task['state']}"
