"""What is declared fits what runs: the YAML of both hosts, against the code and against the official schemas."""

import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from zeroflow.functions.ingest.handler import create_app as ingest
from zeroflow.functions.pipeline.handler import create_app as pipeline
from zeroflow.functions.register.handler import create_app as register
from zeroflow.functions.step.handler import create_app as step
from zeroflow.knative.local.processes.runtimes import RUNTIMES
from zeroflow.settings import Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "knative" / "manifests"


@functools.cache
def documents() -> list[Any]:
    """Return every declared object but the CRDs, with a readable id; once, since every worker collects these tests."""
    found = []
    for path in sorted(MANIFESTS.rglob("*.yaml")):
        if path.name != "kustomization.yaml" and path.parent.name != "crds":
            for document in filter(None, yaml.load_all(path.read_text(), yaml.CSafeLoader)):
                name = f"{path.relative_to(MANIFESTS)}:{document['metadata']['name']}"
                found.append(pytest.param(document, id=name))
    return found


def of_kind(kind: str) -> list[dict[str, Any]]:
    """Return the declared objects of a kind."""
    return [parameter.values[0] for parameter in documents() if parameter.values[0]["kind"] == kind]


@pytest.fixture(scope="module")
def handled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, set[str]]]:
    """Return the event types that each function handles at its root."""
    root = tmp_path_factory.mktemp("functions")
    settings = Settings(database_url=f"sqlite:///{root / 'm.sqlite'}", store=root / "store", scratch=root)
    apps = {create.__module__.split(".")[2]: create(settings) for create in (pipeline, register, step, ingest)}
    yield {name: set(app.extensions["zeroflow"].handled_types) for name, app in apps.items()}
    for app in apps.values():
        if "zeroflow_steps" in app.extensions:
            app.extensions["zeroflow_steps"].close()
        app.extensions["zeroflow"].database.close()


@pytest.mark.parametrize("trigger", of_kind("Trigger"), ids=lambda trigger: trigger["metadata"]["name"])
def test_a_trigger_sends_a_function_what_it_handles(trigger, handled):
    subscriber = trigger["spec"]["subscriber"]
    function, event_type = (
        subscriber["ref"]["name"],
        trigger["spec"].get("filter", {}).get("attributes", {}).get("type"),
    )
    if event_type and function in handled and "uri" not in subscriber:
        assert event_type in handled[function]


@pytest.mark.parametrize("service", of_kind("Service"), ids=lambda service: service["metadata"]["name"])
def test_a_function_is_a_module_of_a_known_runtime(service):
    template = service["spec"]["template"]
    [container] = template["spec"]["containers"]
    if any(port.get("name") == "h2c" for port in container.get("ports") or ()):  # gunicorn speaks no HTTP/2
        python, option, module = container["command"]
        assert (python, option) == ("python", "-m")
        assert (ROOT / module.replace("zeroflow.", "", 1).replace(".", "/")).with_suffix(".py").exists()
        return
    assert container["command"] == ["gunicorn"]
    module = container["args"][0].split(":")[0]
    assert (ROOT / module.replace("zeroflow.", "", 1).replace(".", "/")).with_suffix(".py").exists()
    runtime = RUNTIMES[template["metadata"]["annotations"]["zeroflow.dev/runtime"]]
    assert module in (*runtime.modules, *runtime.later)


@pytest.mark.parametrize("folder", ["knative/manifests", "infra/cluster"])
def test_a_cluster_can_render_it(folder):
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    rendered = subprocess.run(["kubectl", "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=True)
    assert len(list(yaml.load_all(rendered.stdout, yaml.CSafeLoader))) > 3


@pytest.fixture(scope="module")
def schemas(contracts) -> dict[tuple[str, str], Any]:
    """Return the official schemas by apiVersion and kind."""
    found = {}
    for path in contracts.glob("knative/*/crds/*.yaml"):
        for crd in filter(None, yaml.load_all(path.read_text(), yaml.CSafeLoader)):
            for version in crd["spec"]["versions"]:
                key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
                found[key] = version["schema"]["openAPIV3Schema"]
    return found


@pytest.mark.parametrize("document", documents())
def test_it_fits_the_official_schema(document, schemas):
    jsonschema = pytest.importorskip("jsonschema")
    schema = schemas.get((document["apiVersion"], document["kind"]))
    if schema is None:
        pytest.skip(f"no official schema for {document['apiVersion']} {document['kind']}")
    spec = closed(schema["properties"]["spec"])
    jsonschema.Draft202012Validator(spec).validate(document["spec"])


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """Refuse fields that a structural schema does not name, as an API server does when it is strict."""
    result = {**schema}
    for name, inner in schema.get("properties", {}).items():
        result.setdefault("properties", {})
        result["properties"] = {**result["properties"], name: closed(inner)}
    if "items" in schema:
        result["items"] = closed(schema["items"])
    open_ended = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if schema.get("properties") and not open_ended:
        result["additionalProperties"] = False
    return result
