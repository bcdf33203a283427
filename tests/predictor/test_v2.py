"""Protocol V2 (Open Inference Protocol, REST): answers and mistakes."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import yaml


def _nested(depth: int, value: Any) -> Any:
    for _ in range(depth):
        value = [value]
    return value


TENSOR = {"name": "input-0", "shape": [2, 4], "datatype": "FP32", "data": [5.1, 3.5, 1.4, 0.2, 6.7, 3.0, 5.2, 2.3]}
FAULTS: list[tuple[str, dict[str, Any], str]] = [
    ("huge-shape", {"shape": [2**40, 4]}, "shape [1099511627776, 4] holds 4398046511104 values, data 8"),
    ("overflowing-shape", {"shape": [2**63, 2]}, "values, data 8"),
    ("negative-shape", {"shape": [-1, 4]}, "shape must be a list of non-negative integers"),
    ("text-shape", {"shape": "2,4"}, "shape must be a list"),
    ("short", {"data": [1, 2]}, "shape [2, 4] holds 8 values, data 2"),
    ("ragged", {"data": [[1, 2, 3, 4], [1]]}, "data is ragged"),
    ("nested-otherwise", {"data": [[1, 2], [3, 4], [5, 6], [7, 8]]}, "data is nested as [4, 2], shape says [2, 4]"),
    ("narrow", {"shape": [4, 2]}, "has 2 columns, the model takes 4"),
    ("flat", {"shape": [8]}, "has 1 dimension, expected 2"),
    ("datatype", {"datatype": "FLOAT"}, "datatype 'FLOAT' is none of BOOL"),
    ("text", {"datatype": "BYTES", "data": ["1"] * 8}, "is of datatype BYTES, this model takes numbers"),
    ("strings", {"data": ["1"] * 8}, "data does not hold FP32 values"),
    ("fractions", {"datatype": "INT32"}, "data does not hold INT32 values"),
    ("range", {"datatype": "INT8", "data": [1, 2, 3, 4, 5, 6, 7, 300]}, "outside the range of INT8"),
    ("missing", {"data": [None] * 8}, "missing, and this model takes no missing values"),
    ("overflow", {"data": [1e300] * 8}, "outside the range of FP32"),
    ("booleans", {"data": [True] + [1.0] * 7}, "data holds true or false, which are no FP32 values"),
    ("many-booleans", {"shape": [16, 4], "data": [True] * 64}, "data holds true or false"),
    ("nested-booleans", {"data": [[1, 2, 3, 4], [1, 2, 3, False]]}, "data holds true or false"),
    ("deep-booleans", {"data": _nested(400, True)}, "data holds true or false"),
    ("deep", {"data": _nested(400, 1.5)}, "data is ragged"),
    ("whole-booleans", {"datatype": "INT32", "data": [True] + [1] * 7}, "which are no INT32 values"),
    ("dimensions", {"shape": [1] * 98 + [2, 4]}, "shape has 100 dimensions, at most 64 are possible"),
    ("product", {"shape": [2**62] * 300_000}, "shape has 300000 dimensions"),
    ("nothing-in-too-much", {"shape": [0, 2**63], "data": []}, "no tensor can have the shape [0, 9223372036854775808]"),
    ("parameters", {"parameters": [1]}, "inputs[0].parameters must be an object"),
    ("no-rows", {"shape": [0, 4], "data": []}, "has no rows"),
]


def test_infer_answers_what_was_asked(iris: Any) -> None:
    answer = iris.infer({"id": "42", "inputs": [TENSOR], "outputs": [{"name": "predict_proba"}, {"name": "predict"}]})
    assert answer.status == 200
    document = answer.json()
    assert (document["model_name"], document["id"]) == ("iris", "42")
    probabilities, classes = document["outputs"]
    assert (classes["name"], classes["datatype"], classes["shape"]) == ("predict", "INT64", [2])
    assert classes["data"] == [0, 2]
    assert (probabilities["datatype"], probabilities["shape"]) == ("FP64", [2, 3])
    assert sum(probabilities["data"][:3]) == pytest.approx(1)


def test_infer_without_outputs_gives_the_prediction(iris: Any) -> None:
    assert [output["name"] for output in iris.infer({"inputs": [TENSOR]}).json()["outputs"]] == ["predict"]


def test_nested_data_are_the_same(iris: Any) -> None:
    nested = TENSOR | {"data": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]}
    assert iris.infer({"inputs": [nested]}).json() == iris.infer({"inputs": [TENSOR]}).json()


@pytest.mark.parametrize(("change", "fault"), [(c, f) for _, c, f in FAULTS], ids=[name for name, _, _ in FAULTS])
def test_mistakes_are_400_and_the_connection_stays(iris: Any, change: dict[str, Any], fault: str) -> None:
    answer = iris.infer({"inputs": [TENSOR | change]})
    assert answer.status == 400
    assert fault in answer.error
    connected = iris.connection.sock
    assert iris.infer({"inputs": [TENSOR]}).status == 200
    assert iris.connection.sock is connected


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({}, '"inputs"'),
        ({"inputs": []}, "at least one tensor"),
        ({"inputs": [3]}, "inputs[0] must be an object"),
        ({"inputs": [{"name": "x"}]}, "inputs[0] has no 'shape'"),
        ({"inputs": [TENSOR], "id": 3}, "id must be a string"),
        ({"inputs": [TENSOR, TENSOR]}, "name 'input-0' twice"),
        (
            {"inputs": [TENSOR], "outputs": [{"name": "explain"}]},
            "none of this model's outputs: predict, predict_proba",
        ),
    ],
    ids=["empty", "no-inputs", "no-object", "no-shape", "id", "twice", "output"],
)
def test_malformed_requests_are_400(iris: Any, body: Any, fault: str) -> None:
    answer = iris.infer(body)
    assert answer.status == 400
    assert fault in answer.error


ROWS = struct.pack("<8d", *TENSOR["data"])


def binary(change: dict[str, Any] | None = None, **request: Any) -> bytes:
    tensor = {"name": "input-0", "shape": [2, 4], "datatype": "FP64", "parameters": {"binary_data_size": 64}}
    return json.dumps({"inputs": [tensor | (change or {})], **request}).encode()


def test_binary_tensors_in_and_out(iris: Any) -> None:
    head = binary(outputs=[{"name": "predict_proba", "parameters": {"binary_data": True}}, {"name": "predict"}])
    answer = iris.infer(head + ROWS, {"Inference-Header-Content-Length": str(len(head))})
    length = int(answer.headers["inference-header-content-length"])
    probabilities, classes = json.loads(answer.body[:length])["outputs"]
    assert classes["data"] == [0, 2]
    assert probabilities["parameters"] == {"binary_data_size": 48}
    assert "data" not in probabilities
    assert sum(struct.unpack("<6d", answer.body[length:])[:3]) == pytest.approx(1)
    plain = binary(parameters={"binary_data_output": True})
    answer = iris.infer(plain + ROWS, {"Inference-Header-Content-Length": str(len(plain))})
    assert struct.unpack("<2q", answer.body[-16:]) == (0, 2)


@pytest.mark.parametrize(
    ("head", "raw", "length", "fault"),
    [
        (binary(), ROWS[:-1], None, "binary_data_size is 64, but only 63 bytes are left"),
        (binary(), ROWS + b"x", None, "1 bytes follow the tensors' data"),
        (binary({"shape": [2**40, 4]}), ROWS, None, "takes 35184372088832 bytes, data has 64"),
        (binary({"parameters": {"binary_data_size": -1}}), ROWS, None, "must be a number of bytes, got -1"),
        (binary({"data": [1]}), ROWS, None, "both data and a binary_data_size"),
        (binary({"datatype": "BYTES"}), ROWS, None, "element 0 is"),
        (binary(), ROWS, "1000", "must be 0 to the body's length"),
        (binary(), ROWS, "x", "must be 0 to the body's length"),
        (binary(), ROWS, "9" * 5_000, "must be 0 to the body's length"),
        (binary({"shape": [1] * 64 + [2, 4]}), ROWS, None, "shape has 66 dimensions"),
        (binary(), b"", "", "has a binary_data_size, but the request no Inference-Header-Content-Length"),
    ],
    ids=[
        "cut",
        "more",
        "huge-shape",
        "negative",
        "both",
        "bytes",
        "beyond",
        "no-number",
        "digits",
        "dimensions",
        "no-header",
    ],
)
def test_binary_mistakes_are_400(iris: Any, head: bytes, raw: bytes, length: str | None, fault: str) -> None:
    headers = {"Inference-Header-Content-Length": str(len(head)) if length is None else length} if length != "" else {}
    answer = iris.infer(head + raw, headers)
    assert answer.status == 400
    assert fault in answer.error
    assert iris.infer({"inputs": [TENSOR]}).status == 200


def test_health_and_metadata(iris: Any) -> None:
    assert iris.get("/v2/").json() == iris.get("/v2").json()
    assert iris.get("/v2/health/live").json() == {"live": True}
    assert iris.get("/v2/health/ready").json() == {"ready": True}
    assert iris.get("/v2/models/iris/ready").json() == {"name": "iris", "ready": True}
    assert iris.get("/v2/models").json() == {"models": ["iris"]}
    metadata = iris.get("/v2/models/iris").json()
    assert metadata["inputs"] == [{"name": "input-0", "datatype": "FP64", "shape": [-1, 4]}]
    assert metadata["outputs"][1] == {"name": "predict_proba", "datatype": "FP64", "shape": [-1, 3]}
    assert iris.get("/v2/models/nope").status == 404


def test_versions(launcher: Any, iris: Any, iris_model: Any) -> None:
    assert "have no versions" in iris.get("/v2/models/iris/versions/3").error
    versioned = launcher.serve(iris_model, MODEL_VERSION="3")
    assert versioned.get("/v2/models/iris").json()["versions"] == ["3"]
    assert versioned.get("/v2/models/iris/versions/3/ready").json() == {"name": "iris", "ready": True}
    assert versioned.get("/v2/models/iris/versions/2").status == 404
    answer = versioned.send("POST", "/v2/models/iris/versions/3/infer", {"inputs": [TENSOR]})
    assert answer.json()["model_version"] == "3"


def test_answers_match_the_protocols_schema(iris: Any, contracts: Path) -> None:
    """Every field that the Open Inference Protocol's OpenAPI requires is there, and of its type."""
    text = (contracts / "kserve/protocol/open_inference_rest.yaml").read_text()
    schemas = yaml.load(text, yaml.CSafeLoader)["components"]["schemas"]
    body = {"id": "1", "inputs": [TENSOR], "outputs": [{"name": "predict_proba"}]}
    for name, answer in (
        ("metadata_server_response", iris.get("/v2")),
        ("metadata_model_response", iris.get("/v2/models/iris")),
        ("inference_response", iris.infer(body)),
        ("inference_error_response", iris.infer({})),
    ):
        check(answer.json(), schemas[name], schemas)


def check(value: Any, schema: dict[str, Any], schemas: dict[str, Any]) -> None:
    """Check a value against the part of JSON Schema that the contract uses."""
    if "$ref" in schema:
        return check(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return None
    types: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
    assert isinstance(value, types[schema["type"]]), (value, schema)
    for name in schema.get("required", []):
        assert name in value, (name, value)
    for name, part in schema.get("properties", {}).items():
        if name in value:
            check(value[name], part, schemas)
    for item in value if schema["type"] == "array" else ():
        check(item, schema["items"], schemas)
    return None
