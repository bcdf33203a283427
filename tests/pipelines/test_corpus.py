"""Eighty pipelines that are not among the official ones end as KFP's semantics demand.

They are compiled and submitted by the official SDK alone, in an environment of its own. Part of them runs by default,
all of them with ZEROFLOW_ALL_PIPELINES=1.
"""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import urllib3

from environments import python_of
from zeroflow.images import Images, Mapped

DEADLINE_S = 240.0
FINAL = ("SUCCEEDED", "FAILED", "CANCELED")
SUBMIT = Path(__file__).parent / "corpus" / "submit.py"
MODULES = ("values", "control", "artifacts", "nesting", "containers", "settings")
DEFAULT = ("control", "containers")
ALL = os.environ.get("ZEROFLOW_ALL_PIPELINES") == "1"
http = urllib3.PoolManager(retries=False, timeout=60.0)


@pytest.fixture(scope="module")
def submitted(official_host: tuple[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return every pipeline of the corpus with the id of its run, or the words in which it was refused."""
    url, home = official_host
    folder = tmp_path_factory.mktemp("corpus")
    _map_images(home, folder)
    answer = http.request("PUT", f"{url}/objects/given/data.txt", body=b"given")
    assert answer.status in (200, 201)
    python = python_of("kfp==2.17.0", "kfp-kubernetes")
    modules = MODULES if ALL else DEFAULT
    done = subprocess.run(
        [python, str(SUBMIT), url, str(folder), *modules], capture_output=True, text=True, cwd=folder, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in (folder / "submitted.jsonl").read_text().splitlines()]


def test_each_pipeline_of_the_corpus_ends_as_it_must(
    submitted: list[dict[str, Any]], official_host: tuple[str, Path]
) -> None:
    url, _ = official_host
    assert len(submitted) >= (75 if ALL else 15)
    problems = {found["name"]: told for found in submitted if (told := _problem(url, found))}
    assert not problems, json.dumps(problems, indent=2)


def _problem(url: str, expected: dict[str, Any]) -> Any:
    """Say what is not as expected."""
    if "refused" in expected or expected["state"] == "REFUSED":
        as_expected = expected["state"] == "REFUSED" and expected["error"] in expected.get("refused", "")
        return None if as_expected else expected.get("refused", "it was taken")
    run = _finished(url, expected["run_id"])
    error = (run.get("error") or {}).get("message", "")
    if run["state"] != expected["state"] or expected["error"] not in error:
        return [run["state"], error]
    tasks = {task["name"]: task for task in _get(f"{url}/apis/v2beta1/runs/{run['run_id']}/tasks")["tasks"]}
    for name, outputs in expected["outputs"].items():
        found = run["outputs"] if name == "" else tasks.get(name, {}).get("outputs", {})
        if found.get("parameters") != outputs:
            return [name, found.get("parameters"), sorted(tasks)]
    states = {name: tasks.get(name, {}).get("state") for name in expected["skipped"]}
    return None if set(states.values()) <= {"SKIPPED"} else states


def _finished(url: str, run_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + DEADLINE_S
    while (run := _get(f"{url}/apis/v2beta1/runs/{run_id}"))["state"] not in FINAL:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


def _get(url: str) -> dict[str, Any]:
    answer = http.request("GET", url)
    assert answer.status == 200, answer.data
    found: dict[str, Any] = answer.json()
    return found


def _map_images(home: Path, folder: Path) -> None:
    """Let directories stand for the images that the corpus uses: a program, and the source of a component."""
    tool, code = folder / "tool" / "bin" / "tool", folder / "code"
    for made in (tool.parent, code):
        made.mkdir(parents=True)
    tool.write_text('#!/bin/sh\nmkdir -p "$(dirname "$1")"\nprintf "from the mapped image" > "$1"\n')
    tool.chmod(0o755)
    (code / "kfp_config.ini").write_text("[Components]\nin_an_image = component_code.py\n")
    (code / "component_code.py").write_text("def in_an_image(n: int) -> int:\n    return 2 * n\n")
    images = Images(home)
    images.map("registry.example/me/mapped:1", Mapped(tool.parent.parent, ("tool",)))
    images.map("registry.example/me/code:1", Mapped(code))
