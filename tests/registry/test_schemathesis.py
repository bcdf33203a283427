"""schemathesis over the OpenAPI documents: no 5xx, no answer that its schema refuses; `make scale`, some minutes.

The documents say only by a discriminator which type an artifact is; without it, a parameter without a value is an
artifact of three types at once. So each type's schema is told its one `artifactType` before schemathesis reads it.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from environments import python_of

SECONDS = os.environ.get("ZEROFLOW_SCHEMATHESIS_S", "90")
CHECKS = "not_a_server_error,response_schema_conformance,content_type_conformance"
DOCUMENTS = ["model-registry.yaml", "model-registry-v1.from-client-0.3.18.json", "catalog.yaml"]


@pytest.mark.scale
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_request_that_schemathesis_invents_breaks_the_contract(
    registry: Any, contracts: Path, tmp_path: Path, name: str
) -> None:
    document = yaml.load((contracts / "model-registry" / name).read_text(), yaml.CSafeLoader)
    _tell_types(document["components"]["schemas"])
    if name == "catalog.yaml":
        document["paths"] = {path: one for path, one in document["paths"].items() if "mcp" not in path}
    described = tmp_path / "openapi.json"
    described.write_text(json.dumps(document))
    program = Path(python_of("schemathesis==4.32.5")).with_name("schemathesis")
    options = ["--url", registry.url, "--checks", CHECKS, "--max-time", SECONDS, "--continue-on-failure", "--no-color"]
    ran = subprocess.run(
        [str(program), "run", str(described), *options], capture_output=True, text=True, cwd=tmp_path, timeout=800
    )
    summary = ran.stdout.partition("= SUMMARY =")[2]
    print(f"{registry.database_url.split(':')[0]} {name}: {summary.strip().splitlines()[-1:]}")
    assert "Test cases:" in summary, ran.stdout[-3000:] + ran.stderr[-2000:]
    assert "Failures:" not in summary, ran.stdout.partition("= FAILURES =")[2][:6000]


def _tell_types(schemas: dict[str, Any]) -> None:
    for schema in list(schemas.values()):
        if "discriminator" in schema and "mapping" not in schema["discriminator"]:  # v1's: it names no values
            del schema["discriminator"]
            schema["anyOf"] = schema.pop("oneOf")
        for value, target in schema.get("discriminator", {}).get("mapping", {}).items():
            name = schema["discriminator"]["propertyName"]
            told = schemas[target.split("/")[-1]]
            only = {"type": "object", "required": [name], "properties": {name: {"type": "string", "enum": [value]}}}
            told["allOf"] = [*told.get("allOf", []), only]
