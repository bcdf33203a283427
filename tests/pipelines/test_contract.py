"""The official swagger: all its operations are there, and schemathesis finds no 5xx and no answer that breaks it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest
import urllib3

from environments import python_of
from pipelines.harness import pipeline, task
from pipelines.serving import served

REQUIREMENT = "schemathesis==4.32.5"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "unsupported_method,use_after_free,ensure_resource_availability"
)
METHODS = ("get", "post", "put", "patch", "delete")


@pytest.fixture(scope="module")
def swagger(contracts: Path) -> dict[str, Any]:
    """The swagger; what protobuf calls `{pipeline.pipeline_id}` is spelled so that OpenAPI tools can read it."""
    text = (contracts / "kfp" / "api" / "kfp_api_single_file.swagger.json").read_text()
    for message in ("pipeline_version", "pipeline"):
        for name in ("pipeline_version_id", "pipeline_id"):
            text = text.replace(f"{message}.{name}", name)
    document: dict[str, Any] = json.loads(text, object_pairs_hook=_merged)
    return document


def _merged(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Read an object; a path that is then there twice, for different methods, is one path."""
    read: dict[str, Any] = {}
    for name, value in pairs:
        read[name] = {**read[name], **value} if isinstance(read.get(name), dict) else value
    return read


def test_every_operation_is_there(swagger: dict[str, Any], url: str) -> None:
    found = 0
    for path, operations in swagger["paths"].items():
        asked = path
        while "{" in asked:
            before, _, rest = asked.partition("{")
            asked = before + "ghost" + rest.partition("}")[2]
        for method in METHODS:
            answer = urllib3.request(method.upper(), url + asked, body=b"{}", retries=False)
            known = answer.status != 405 and b"is no operation" not in answer.data
            where = f"{method} {path}: {answer.status} {answer.data[:200]!r}"
            assert answer.status < 500, where
            assert known if method in operations else answer.status in (404, 405), where
            found += method in operations
    assert found == 40


@pytest.fixture(scope="module")
def schemathesis() -> str:
    """The program, in an environment of its own, cached between sessions."""
    return str(Path(python_of(REQUIREMENT)).with_name("schemathesis"))


def _made(url: str) -> dict[str, str]:
    """Make one of everything; return its ids by the names of the swagger's path parameters."""
    api = f"{url}/apis/v2beta1"
    spec = pipeline({"a": task("a")})

    def post(path: str, body: Any) -> Any:
        answer = urllib3.request("POST", api + path, body=orjson.dumps(body), retries=False)
        assert answer.status == 200, answer.data
        return answer.json()

    group = post("/experiments", {"display_name": "schemathesis"})
    upload = {"uploadfile": ("p.yaml", orjson.dumps(spec))}
    uploaded = urllib3.request("POST", f"{api}/pipelines/upload?name=p", fields=upload).json()
    versions = urllib3.request("GET", f"{api}/pipelines/{uploaded['pipeline_id']}/versions").json()
    run = {"display_name": "r", "pipeline_spec": spec, "experiment_id": group["experiment_id"]}
    every = {**run, "trigger": {"periodic_schedule": {"interval_second": "3600"}}, "mode": "ENABLE"}
    return {
        "experiment_id": group["experiment_id"],
        "pipeline_id": uploaded["pipeline_id"],
        "pipeline_version_id": versions["pipeline_versions"][0]["pipeline_version_id"],
        "run_id": post("/runs", run)["run_id"],
        "recurring_run_id": post("/recurringruns", every)["recurring_run_id"],
        "name": "p",
        "namespace": "default",
    }


def _check(
    schemathesis: str, folder: Path, swagger: dict[str, Any], url: str, known: dict[str, str], *options: str
) -> None:
    """Let schemathesis ask every operation; `known` are values for path parameters that name what exists."""
    document, config = folder / "swagger.json", folder / "schemathesis.toml"
    document.write_text(json.dumps(swagger))
    lines = [f"{json.dumps(f'path.{name}')} = {json.dumps(value)}" for name, value in known.items()]
    config.write_text("\n".join(["[parameters]", *lines]) + "\n")
    command = [schemathesis, "--config-file", str(config), "run", str(document), "--url", url, "-c", CHECKS]
    done = subprocess.run(
        [*command, "--continue-on-failure", "--no-color", "--seed", "7", *options],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "Tested: 40" in done.stdout


def test_schemathesis_finds_nothing(swagger: dict[str, Any], schemathesis: str, url: str, tmp_path: Path) -> None:
    _check(schemathesis, tmp_path, swagger, url, _made(url), "--phases", "fuzzing", "-n", "2")


@pytest.mark.scale
@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing_in_thousands_of_requests(
    swagger: dict[str, Any], schemathesis: str, tmp_path: Path
) -> None:
    with served(tmp_path) as url:
        for known in ({}, _made(url)):
            _check(schemathesis, tmp_path, swagger, url, known, "-n", "60")
