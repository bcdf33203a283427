"""`zeroflow deploy` runs function projects as func-python would, by the command and a host as a user has them."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml

from lifecycle.conftest import Host, eventually, running

SAMPLES = Path(__file__).parent / "samples"
FUNCTION = """
async def handle(scope, receive, send):
    import humanize, os, sys
    told = os.environ.get("COLOUR"), os.environ.get("TOKEN"), "zeroflow.knative" in sys.modules
    text = " ".join([humanize.intcomma(1234567), *map(str, told)])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with running(tmp_path_factory.mktemp("home")) as started:
        yield started


def zeroflow(host: Host, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "zeroflow", *arguments, "--home", str(host.home)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=170,
        env={**os.environ, **environment},
    )
    if check:
        assert done.returncode == 0, done.stderr
    return done


def deploy(host: Host, folder: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        zeroflow(host, "deploy", str(folder), "-o", "json", *arguments, **environment).stdout
    )
    return told


@pytest.fixture(scope="module")
def deployed(host: Host, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("projects")
    return {name: deploy(host, sample(name, folder))["url"] for name in ("echo", "greeter", "plain")}


def sample(of: str, folder: Path, **changes: Any) -> Path:
    """Copy a sample and give it the environment that samples ask for."""
    copied = Path(shutil.copytree(SAMPLES / of, folder / of))
    values = {"GREETING": "hello", "STOPPED": str(folder / f"{of}-stopped")}
    envs = [{"name": key, "value": value} for key, value in values.items()]
    document = yaml.safe_load((copied / "func.yaml").read_text()) | {"run": {"envs": envs}} | changes
    (copied / "func.yaml").write_text(yaml.safe_dump(document))
    return copied


EVENT = {"ce-specversion": "1.0", "ce-id": "7", "ce-source": "/tests", "ce-type": "plain", "Content-Type": "text/plain"}
REQUESTS: list[tuple[str, str, str, bytes | None, dict[str, str]]] = [
    ("echo", "PUT", "/in", b"0123456789" * 20_000, {}),
    ("echo", "GET", "/health/liveness", None, {}),
    ("plain", "GET", "/x", None, {}),
    ("greeter", "POST", "/any", b"Ann", EVENT),
    ("greeter", "POST", "/", b'{"a":1}', {"Content-Type": "application/json"}),
]


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda asked: f"{asked[0]} {asked[1]} {asked[2]}")
def test_a_deployed_project_answers_as_by_func_python(
    asked: tuple[str, str, str, bytes | None, dict[str, str]], deployed: dict[str, str], official: Any
) -> None:
    name, method, path, body, headers = asked
    expected = official(name).request(method, path, body, headers)
    answer = urllib3.request(method, deployed[name] + path, body=body, headers=headers, retries=False, timeout=60)
    assert answer.status == expected.status
    assert answer.headers.get("content-type") == expected.headers.get("content-type")
    if name == "echo" and path == "/in":  # tells all headers, among them those of the host
        assert json.loads(answer.data) | {"headers": []} == json.loads(expected.data) | {"headers": []}
    elif answer.headers.get("content-type") == "application/cloudevents+json":
        ours, theirs = json.loads(answer.data), json.loads(expected.data)
        assert {**ours, "id": "", "time": ""} == {**theirs, "id": "", "time": ""}
    else:
        assert answer.data == expected.data


def project(folder: Path, document: dict[str, Any], requirements: str = "") -> Path:
    (folder / "function").mkdir(parents=True, exist_ok=True)
    (folder / "function" / "__init__.py").write_text(FUNCTION)
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    base = {"specVersion": "0.36.0", "created": "2026-11-21T00:00:00Z", "runtime": "python"}
    (folder / "func.yaml").write_text(yaml.safe_dump(base | document))
    return folder


def test_requirements_go_into_an_environment_of_the_functions_own(host: Host, tmp_path: Path) -> None:
    secret = {"metadata": {"name": "hidden"}, "stringData": {"key": "s3cret"}}
    assert host.request("POST", "/api/v1/namespaces/default/secrets", json=secret).status == 201
    envs = [{"name": "COLOUR", "value": "{{ env:MY_COLOUR }}"}, {"name": "TOKEN", "value": "{{ secret:hidden:key }}"}]
    document = {"name": "wants", "run": {"envs": envs}}
    folder = project(tmp_path / "wants", document, "humanize==4.11.0\n")
    first = deploy(host, folder, MY_COLOUR="red")
    assert Path(first["environment"]).is_relative_to(host.home)
    assert urllib3.request("GET", first["url"], retries=False).data == b"1,234,567 red s3cret False"
    again = deploy(host, folder, MY_COLOUR="blue")
    assert (first["revision"], again["revision"]) == ("wants-00001", "wants-00002")
    assert again["environment"] == first["environment"]
    assert urllib3.request("GET", again["url"], retries=False).data.startswith(b"1,234,567 blue")
    assert deploy(host, folder, MY_COLOUR="blue")["revision"] == "wants-00002"  # nothing has changed


def test_a_change_of_the_source_is_a_new_revision(host: Host, tmp_path: Path) -> None:
    folder = sample("plain", tmp_path, name="changing")
    first = deploy(host, folder)
    with (folder / "function" / "func.py").open("a") as file:
        file.write("\n# another line\n")
    assert (first["revision"], deploy(host, folder)["revision"]) == ("changing-00001", "changing-00002")


def test_options_and_subscriptions_become_annotations_and_triggers(host: Host, tmp_path: Path) -> None:
    broker = {"apiVersion": "eventing.knative.dev/v1", "kind": "Broker", "metadata": {"name": "default"}}
    path = "/apis/eventing.knative.dev/v1/namespaces/default"
    assert host.request("POST", f"{path}/brokers", json=broker).status == 201
    changes: dict[str, Any] = {
        "deploy": {
            "labels": [{"key": "team", "value": "blue"}],
            "options": {
                "scale": {"min": 0, "max": 3, "metric": "concurrency", "target": 5.0, "utilization": 80},
                "resources": {"limits": {"memory": "256Mi", "concurrency": 7}},
            },
            "subscriptions": [{"source": "default", "filters": {"type": "plain"}}],
        },
    }
    folder = sample("greeter", tmp_path, name="subscriber", **changes)
    document = yaml.safe_load((folder / "func.yaml").read_text())
    assert deploy(host, folder)["triggers"] == ["subscriber-function-trigger-0"]
    service = host.get("/apis/serving.knative.dev/v1/namespaces/default/services/subscriber")
    template = service["spec"]["template"]
    scale = {
        key.partition("/")[2]: value
        for key, value in template["metadata"]["annotations"].items()
        if "autoscaling" in key
    }
    assert scale == {
        "min-scale": "0",
        "max-scale": "3",
        "metric": "concurrency",
        "target": "5",
        "target-utilization-percentage": "80",
    }
    assert template["spec"]["containerConcurrency"] == 7
    assert service["metadata"]["labels"]["team"] == "blue"
    trigger = host.get(f"{path}/triggers/subscriber-function-trigger-0")
    assert trigger["spec"]["filter"]["attributes"] == {"type": "plain"}
    document["deploy"].pop("subscriptions")
    (folder / "func.yaml").write_text(yaml.safe_dump(document))
    assert deploy(host, folder)["triggers"] == []
    assert host.request("GET", f"{path}/triggers/subscriber-function-trigger-0").status == 404


def test_list_invoke_and_delete(host: Host, deployed: dict[str, str]) -> None:
    listed = json.loads(zeroflow(host, "functions", "list", "-o", "json").stdout)
    assert {"echo", "greeter", "plain"} <= {each["name"] for each in listed}
    answered = zeroflow(
        host, "functions", "invoke", "greeter", "--type", "plain", "--data", "Ann", "--content-type", "text/plain"
    )
    assert json.loads(answered.stdout)["specversion"] == "1.0"
    zeroflow(host, "functions", "delete", "plain")
    eventually(lambda: urllib3.request("GET", deployed["plain"], retries=False).status == 404, "the function to go")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": "x", "runtime": "go"}, "runtime 'go' does not run here"),
        ({"name": "X_"}, "name must be a DNS-1035 label"),
        ({"name": "x", "colour": "red"}, "colour is no field"),
        ({"name": "x", "invoke": "carrier"}, "invoke must be http or cloudevent, got 'carrier'"),
        ({"name": "x", "run": {"kafka": {"topic": "t"}}}, "run.kafka is not supported here"),
        ({"name": "x", "run": {"envs": [{"name": "A", "value": "{{ env:NOT_SET }}"}]}}, "NOT_SET is not set"),
        ({"name": "x", "run": {"envs": [{"name": "A", "value": "{{ vault:a }}"}]}}, "is none of {{ env:X }}"),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)
def test_what_cannot_be_deployed_is_refused_by_name(
    host: Host, tmp_path: Path, document: dict[str, Any], said: str
) -> None:
    done = zeroflow(host, "deploy", str(project(tmp_path / "p", document)), check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_function_that_does_not_start_tells_why(host: Host) -> None:
    done = zeroflow(host, "deploy", str(SAMPLES / "broken"), check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"zeroflow: broken does not start: RuntimeError: no model at MODEL_URI\.\n", done.stderr)


def test_a_folder_that_is_no_project(host: Host, tmp_path: Path) -> None:
    done = zeroflow(host, "deploy", str(tmp_path), check=False)
    assert "is no function project: it has no func.yaml" in done.stderr
