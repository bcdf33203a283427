"""Whatever is killed while a run goes on, its outputs are those of a run that nobody disturbed."""

import os
import random
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kfp import compiler, dsl

KILLS = 100
BRANCHES = 96
DEADLINE_S = 1500.0


@dsl.component
def make(n: int, data: dsl.Output[dsl.Dataset]) -> int:
    import time

    time.sleep(0.1)
    with open(data.path, "w") as file:
        file.write(str(n))
    data.metadata["n"] = n
    return n


@dsl.component
def square(data: dsl.Input[dsl.Dataset]) -> int:
    import time

    time.sleep(0.1)
    return int(open(data.path).read()) ** 2


@dsl.component
def total(numbers: list) -> int:
    return sum(numbers)


@dsl.container_component
def word(text: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec(image="alpine", command=["sh", "-c", 'sleep 0.1; printf %s "$0" > "$1"'], args=[text, out])


@dsl.component
def join(words: list) -> str:
    return "".join(words)


@dsl.pipeline
def branch(n: int) -> int:
    made = make(n=n).set_retry(30)
    with dsl.If(made.outputs["Output"] >= 0):
        plus = square(data=made.outputs["data"]).set_retry(30)
    with dsl.Else():
        minus = make(n=n).set_retry(30)
    return dsl.OneOf(plus.output, minus.outputs["Output"])


@dsl.pipeline(name="mixed")
def mixed() -> int:
    with dsl.ParallelFor(list(range(BRANCHES))) as n:
        one = branch(n=n)
    with dsl.ParallelFor(list("abcdefgh")) as letter:
        said = word(text=letter).set_retry(30)
    join(words=dsl.Collected(said.outputs["out"])).set_retry(30)
    return total(numbers=dsl.Collected(one.output)).set_retry(30).output


@pytest.mark.scale
@pytest.mark.timeout(DEADLINE_S + 120)
def test_a_hundred_random_kills_change_nothing_in_what_a_run_gives(
    start_host: Callable[..., Any], tmp_path: Path
) -> None:
    chance = random.Random(7)
    host = start_host()
    compiler.Compiler().compile(mixed, str(tmp_path / "mixed.yaml"))
    spec = yaml.safe_load((tmp_path / "mixed.yaml").read_text())
    assert "exec-word" in spec["deploymentSpec"]["executors"]
    calm = _finish(host, _submit(host, spec))
    assert calm["state"] == "SUCCEEDED", calm["error"]
    tasks = sum(task["kind"] == "step" for task in host.tasks(calm["run_id"]))
    assert tasks >= 200
    killed: Counter[str] = Counter()
    runs = [_submit(host, spec)]
    deadline = time.monotonic() + DEADLINE_S
    while sum(killed.values()) < KILLS:
        assert time.monotonic() < deadline, killed
        if _state(host, runs[-1]) in ("SUCCEEDED", "FAILED"):
            runs.append(_submit(host, spec))  # the machine was faster than the killer
        killed[_kill_one(host, chance)] += 1
        time.sleep(chance.uniform(0.05, 0.5))
    print(f"\n{tasks} steps, {len(runs)} runs, killed: {dict(killed)}")
    for run_id in runs:
        disturbed = _finish(host, run_id)
        assert disturbed["state"] == "SUCCEEDED", disturbed["error"]
        assert disturbed["outputs"]["parameters"] == calm["outputs"]["parameters"] == {"Output": 290320}
        assert _outputs(host, run_id) == _outputs(host, calm["run_id"])
        _check_recorded_once(host, run_id)


def _kill_one(host: Any, chance: random.Random) -> str:
    """Kill one process of the platform or of a step, or the host with all of them; say which."""
    pids = host.processes()
    if not pids or chance.random() < 0.05:
        host.kill()
        host.start()
        return "host"
    pid = chance.choice(pids)
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        os.kill(pid, signal.SIGKILL)
    except OSError:
        return "gone already"
    named = [word.decode() for word in words if word.startswith(b"zeroflow.")]
    return named[0].split(":")[0] if named else words[0].decode().rsplit("/", 1)[-1]


def _submit(host: Any, spec: dict[str, Any]) -> str:
    executors = {"exec-word": {"podMetadata": {"annotations": {"zeroflow.dev/execution": "job"}}}}
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    definition = {"pipeline_spec": _uncached(spec), "platform_spec": platform}
    body = {"display_name": "mixed", "pipeline_spec": definition}
    return str(_ask(host, "POST", "/apis/v2beta1/runs", json=body)["run_id"])


def _uncached(spec: dict[str, Any]) -> dict[str, Any]:
    for component in (*spec["components"].values(), spec["root"]):
        for task in component.get("dag", {}).get("tasks", {}).values():
            task["cachingOptions"] = {}
    return spec


def _state(host: Any, run_id: str) -> str:
    return str(_ask(host, "GET", f"/apis/v2beta1/runs/{run_id}")["state"])


def _finish(host: Any, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + 300
    while (run := _ask(host, "GET", f"/apis/v2beta1/runs/{run_id}"))["state"] not in ("SUCCEEDED", "FAILED"):
        assert time.monotonic() < deadline, {task["name"]: task["state"] for task in host.tasks(run_id)}
        time.sleep(0.2)
    return run


def _ask(host: Any, method: str, path: str, **options: Any) -> dict[str, Any]:
    """Ask until it is answered: the one who answers may have been killed just now."""
    deadline = time.monotonic() + 60
    while True:
        try:
            answer = host.request(method, path, timeout=20.0, **options)
            if answer.status == 200:
                found: dict[str, Any] = answer.json()
                return found
            said = answer.data
        except Exception as error:
            said = error
        assert time.monotonic() < deadline, said
        time.sleep(0.1)


def _outputs(host: Any, run_id: str) -> dict[str, Any]:
    """Return what each task gave: parameters as they are, artifacts by their content."""
    found = {}
    for task in host.tasks(run_id):
        artifacts = task["outputs"]["artifacts"]
        content = {key: [(one["sha256"], one["metadata"]) for one in held] for key, held in artifacts.items()}
        found[task["name"]] = (task["state"], task["outputs"]["parameters"], content)
    return found


def _check_recorded_once(host: Any, run_id: str) -> None:
    """Each attempt has been answered once, and no artifact is recorded twice."""
    ids = [
        one["id"]
        for task in host.tasks(run_id)
        for held in task["outputs"]["artifacts"].values()
        for one in held
        if task["kind"] == "step"
    ]
    assert len(ids) == len(set(ids))
