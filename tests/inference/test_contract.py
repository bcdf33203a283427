"""What the function writes is what KServe's own CRD allows: every status, with its enumerations."""

import json
from pathlib import Path
from typing import Any

import pytest

JSON_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


@pytest.fixture(scope="module")
def status_schema(contracts: Path) -> dict[str, Any]:
    crd = json.loads((contracts / "kserve/crds/serving.kserve.io_inferenceservices.json").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return dict(schema["properties"]["status"])


def check(value: Any, schema: dict[str, Any], place: str = "status") -> None:
    """Check a value as a structural schema says; unlike an API server, do not drop unknown fields but fail."""
    assert isinstance(value, JSON_TYPES[schema["type"]]), (place, value)
    if "enum" in schema:
        assert value in schema["enum"], (place, value)
    if schema["type"] == "object":
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        for name in schema.get("required", []):
            assert name in value, (place, name)
        for name, item in value.items():
            assert name in known or others, (place, name)
            check(item, known.get(name) or others, f"{place}.{name}")
    for at, item in enumerate(value if schema["type"] == "array" else ()):
        check(item, schema["items"], f"{place}[{at}]")


def test_every_status_fits_the_crd(running: Any, constant: Any, status_schema: dict[str, Any]) -> None:
    def status(name: str, condition: str = "") -> dict[str, Any]:
        wanted = (lambda found: found["status"]["conditions"][-1]["status"] == condition) if condition else bool
        return dict(running.settle(name, wanted)["status"])

    def sklearn(key: str, model: Any) -> dict[str, Any]:
        return {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": running.put(key, model)}}

    running.apply("fits", sklearn("models/fits/1.joblib", constant(1)))
    check(running.get("fits")["status"], status_schema)  # while it is being deployed
    check(status("fits", "True"), status_schema)
    running.apply("fits", sklearn("models/fits/2.joblib", b"\x80\x04broken"))
    failed = status("fits", "False")
    check(failed, status_schema)
    assert failed["modelStatus"]["lastFailureInfo"]["exitCode"] == 3
    running.apply("fits", {"sklearn": {"storageUri": "store://models/none"}})
    check(status("fits"), status_schema)
    running.apply("fits", {"model": {"modelFormat": {"name": "sklearn"}}}, {"zeroflow.dev/registered-model": "none"})
    check(status("fits"), status_schema)
    running.apply("fits", sklearn("models/fits/1.joblib", constant(1)), {"serving.kserve.io/stop": "true"})
    check(status("fits"), status_schema)
