"""Each function of the platform is a project of the `func` command, and its func.yaml says what its manifest says."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from zeroflow.functions.inference.containers import Platform, own_predictor
from zeroflow.functions.inference.credentials import Credentials
from zeroflow.functions.inference.location import Location
from zeroflow.functions.inference.manifests import service
from zeroflow.functions.inference.spec import parse_spec
from zeroflow.models.trust import Word

AUTOSCALING = "autoscaling.knative.dev/"
SCALE = {"min": "min-scale", "max": "max-scale", "metric": "metric", "target": "target"}
OPERATIONS = ("pipeline", "step", "register", "inference", "ingest", "predictor")
SAMPLES = sorted(Path(__file__).parent.glob("samples/*/func.yaml"))


def func_yaml(operation: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(
        files("zeroflow").joinpath("functions", operation, "func.yaml").read_text()
    )
    return document


def manifest(operation: str) -> dict[str, Any]:
    """Return the Knative Service of an operation; a predictor's is made per InferenceService."""
    if operation != "predictor":
        path = files("zeroflow").joinpath("knative", "manifests", "functions", f"{operation}.yaml")
        loaded: dict[str, Any] = yaml.safe_load(path.read_text())
        return loaded
    model = {"modelFormat": {"name": "sklearn"}, "protocolVersion": "v2", "storageUri": "store://models/m"}
    metadata = {"name": "m", "namespace": "default", "uid": "u", "generation": 1}
    isvc = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": {"model": model}},
    }
    spec = parse_spec(isvc)
    assert spec.model is not None
    place = Location("store://models/m", Credentials())
    pod = own_predictor(isvc, spec, spec.model, place, Word(None, None), Platform("/store"))
    return service(isvc, spec.predictor, pod, [], "seen")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_func_yaml_agrees_with_the_manifest(operation: str) -> None:
    project, template = func_yaml(operation), manifest(operation)["spec"]["template"]
    container, deploy = template["spec"]["containers"][0], project["deploy"]
    annotations = template["metadata"]["annotations"]

    assert (project["name"], project["runtime"], project["image"]) == (operation, "python", container["image"])
    scale = {SCALE[name]: str(value) for name, value in deploy["options"]["scale"].items()}
    given = {name.removeprefix(AUTOSCALING): value for name, value in annotations.items()}
    assert scale == {name: given[name] for name in SCALE.values() if name in given}
    assert deploy["options"].get("resources", {}).get("limits", {}).get("concurrency") == template["spec"].get(
        "containerConcurrency"
    )
    assert deploy["healthEndpoints"]["readiness"] == container["readinessProbe"]["httpGet"]["path"]
    assert deploy.get("serviceAccountName") == template["spec"].get("serviceAccountName")
    assert deploy["annotations"]["zeroflow.dev/runtime"] == annotations["zeroflow.dev/runtime"]


@pytest.mark.parametrize("operation", [operation for operation in OPERATIONS if operation != "predictor"])
def test_func_yaml_gives_a_function_the_same_place_and_environment_as_the_manifest(operation: str) -> None:
    project, found = func_yaml(operation), manifest(operation)
    sources = found["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    references = {
        f"{{{{ {kind.removesuffix('Ref')}:{reference['name']} }}}}"
        for source in sources
        for kind, reference in source.items()
    }
    assert {env["value"] for env in project["run"]["envs"]} == references
    assert project["namespace"] == found["metadata"]["namespace"]
    paths = found["metadata"].get("annotations", {}).get("zeroflow.dev/paths")
    assert project["deploy"]["annotations"].get("zeroflow.dev/paths") == paths


@pytest.mark.parametrize("name", [*OPERATIONS, *(f"samples/{path.parent.name}" for path in SAMPLES)])
def test_func_yaml_is_valid(name: str, contracts: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((contracts / "knative" / "func" / "func_yaml-schema.json").read_text())
    if name in OPERATIONS:
        document = func_yaml(name)
    else:
        document = yaml.safe_load((Path(__file__).parent / name / "func.yaml").read_text())
    jsonschema.Draft4Validator(schema).validate(document)
