"""A component in its own image: the Job that brings the platform's runtime there, and what runs by it.

No container runs here: the program of the Job runs where PATH leads to a Python that has nothing of the platform, as
in `python:3.12`, and sees a directory of the test as the image's.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client

from zeroflow.artifacts import Stores
from zeroflow.functions.step import jobs
from zeroflow.functions.step.jobs import Jobs
from zeroflow.functions.step.placement import Placement
from zeroflow.functions.step.request import Attempt, Task
from zeroflow.functions.step.settings import StepSettings
from zeroflow.settings import Settings

IMAGE = "ghcr.io/me/train:1.2"


def settings(root: Path, **variables: str) -> tuple[StepSettings, Stores]:
    platform = Settings.from_environment(
        {"ZEROFLOW_DATABASE_URL": "unused://", "ZEROFLOW_STORE": str(root / "store"), "ZEROFLOW_SCRATCH": str(root)}
    )
    return StepSettings.from_environment(platform, variables), Stores.from_settings(platform)


def unknown_fields(value: Any, kind: str, path: str = "") -> list[str]:
    """Return what Kubernetes' own model of a kind does not have."""
    if kind.startswith("list["):
        return [found for item in value for found in unknown_fields(item, kind[5:-1], path)]
    model = getattr(client, kind, None)
    if model is None:
        return []
    names = {written: name for name, written in model.attribute_map.items()}
    found = [f"{path}.{name}" for name in value if name not in names]
    for name, inner in value.items():
        if name in names:
            found += unknown_fields(inner, model.openapi_types[names[name]], f"{path}.{name}")
    return found


def test_a_component_with_an_image_of_its_own_is_a_job_in_that_image(tmp_path, task, components):
    own, stores = settings(tmp_path, ZEROFLOW_OWN_IMAGES="true", ZEROFLOW_STEP_IMAGE="registry/step:9")
    wanted = task(components.add, {"a": 1, "b": 2})
    placement = Placement(own)
    assert placement.reason_for_job(Task.parse(wanted)) is None  # the SDK's own python:3.x is the platform's as well
    wanted["executor"]["image"] = IMAGE
    parsed = Task.parse(wanted)
    why = placement.reason_for_job(parsed)
    assert why == f"it has an image of its own, {IMAGE}"
    environment = {"ZEROFLOW_STORE": "s3://lake", "ZEROFLOW_SCRATCH": "/tmp", "ZEROFLOW_TOKEN": "secret"}
    job = Jobs(lambda: None, stores, environment, own).manifest(Attempt.parse(wanted), parsed, wanted, why)
    assert unknown_fields(job, "V1Job") == []
    pod = job["spec"]["template"]["spec"]
    (copying,), (main,) = pod["initContainers"], pod["containers"]
    assert (copying["image"], main["image"]) == ("registry/step:9", IMAGE)
    (volume,) = pod["volumes"]
    assert volume == {"name": "zeroflow-runtime", "emptyDir": {}}
    assert copying["volumeMounts"] == [{"name": "zeroflow-runtime", "mountPath": "/zeroflow-runtime"}]
    assert main["volumeMounts"] == [{"name": "zeroflow-runtime", "mountPath": "/opt/zeroflow"}]
    assert main["command"] == ["/opt/zeroflow/env/bin/python", "-I", "-m", "zeroflow.functions.step.job"]
    given = {variable["name"]: variable["value"] for variable in main["env"]}
    assert given == {
        "ZEROFLOW_STORE": "s3://lake",
        "ZEROFLOW_SCRATCH": "/opt/zeroflow/scratch",
        "ZEROFLOW_INSIDE_IMAGE": IMAGE,
    }


def test_on_one_machine_an_image_of_its_own_makes_no_job(tmp_path, task, components):
    own, _ = settings(tmp_path)
    wanted = task(components.add, {"a": 1, "b": 2})
    wanted["executor"]["image"] = IMAGE
    assert Placement(own).reason_for_job(Task.parse(wanted)) is None


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a directory with a Python that has nothing but its standard library."""
    folder = tmp_path / "image"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (folder / "app").mkdir()
    return folder


def made_in(image: Path, root: Path, wanted: dict[str, Any], path: str = "/usr/bin:/bin") -> dict[str, Any]:
    """Run the program of the Job inside of the image; return the outcome that it writes down."""
    _, stores = settings(root)
    attempt = Attempt.parse(wanted)
    jobs.put_json(stores, jobs.request_uri(attempt), wanted)
    environment = {
        "PATH": f"{image}/bin:{path}",
        "PYTHONPATH": str(image / "app"),
        "FROM_IMAGE": "yes",
        "ZEROFLOW_STORE": str(root / "store"),
        "ZEROFLOW_SCRATCH": str(root / "scratch"),
        "ZEROFLOW_INSIDE_IMAGE": IMAGE,
        "AWS_SECRET_ACCESS_KEY": "platform-secret-key",
    }
    command = [sys.executable, "-I", "-m", "zeroflow.functions.step.job", jobs.request_uri(attempt)]
    done = subprocess.run(command, env=environment, cwd=image / "app", capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return jobs.read_json(stores, jobs.outcome_uri(attempt)) or {}


def test_a_component_of_python_runs_by_its_images_python_and_sees_its_modules(image, tmp_path, task, components):
    (image / "app" / "theirs.py").write_text("WORD = 'of the image'\n")
    wanted = task(components.look_around)
    wanted["executor"]["image"] = IMAGE
    outcome = made_in(image, tmp_path, wanted)
    assert outcome["state"] == "SUCCEEDED", outcome["error"]
    seen = json.loads(outcome["outputs"]["parameterValues"]["Output"])
    assert seen == {
        "prefix": str(image),
        "zeroflow": False,
        "theirs": "of the image",
        "variable": "yes",
        "secret": None,
        "cwd": str(image / "app"),
    }


def test_a_command_runs_in_its_image_as_the_image_has_it(image, tmp_path, task):
    (image / "bin" / "tool").write_text('#!/bin/sh\nprintf "%s from %s" "$1" "$FROM_IMAGE" > "$2"\n')
    (image / "bin" / "tool").chmod(0o755)
    executor = {
        "image": IMAGE,
        "command": ["tool"],
        "args": ["{{$.inputs.parameters['word']}}", "{{$.outputs.parameters['out'].output_file}}"],
    }
    spec = {
        "inputDefinitions": {"parameters": {"word": {"parameterType": "STRING"}}},
        "outputDefinitions": {"parameters": {"out": {"parameterType": "STRING"}}},
    }
    outcome = made_in(image, tmp_path, task.of(executor, spec, {"word": "hi"}))
    assert outcome["state"] == "SUCCEEDED", outcome["error"]
    assert outcome["outputs"]["parameterValues"] == {"out": "hi from yes"}


def test_an_image_without_python_is_told_of(tmp_path, task, components):
    empty = tmp_path / "image"
    for folder in ("bin", "app"):
        (empty / folder).mkdir(parents=True)
    wanted = task(components.add, {"a": 1, "b": 2})
    wanted["executor"]["image"] = IMAGE
    outcome = made_in(empty, tmp_path, wanted, path="/nothing")
    assert outcome["state"] == "FAILED"
    assert outcome["error"]["message"] == f"image {IMAGE} has no python3, which a component of Python needs"
