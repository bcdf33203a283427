"""Classes written for KServe get and give what its own server hands through.

The answers expected here are those of kserve 0.21's ModelServer with the same class, but for fields that it sends as
null, and for bytes that are no text, for which it answers 500 on REST.
"""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

SAMPLE = Path(__file__).parent / "samples" / "kserve_payloads"
MODEL = "payloads"
TENSOR = {"name": "x", "shape": [2], "datatype": "FP64", "data": [1.5, 2.5]}


@pytest.fixture(scope="module")
def payloads(launcher: Any) -> Any:
    shutil.copytree(SAMPLE, launcher.store / "models" / MODEL, ignore=shutil.ignore_patterns("__pycache__"))
    return launcher.serve_at(f"store://models/{MODEL}", MODEL_NAME=MODEL)


def predict(payloads: Any, body: Any, **headers: str) -> Any:
    return payloads.predict(body, {name.replace("_", "-"): value for name, value in headers.items()}, model=MODEL)


def infer(payloads: Any, *tensors: Any, **request: Any) -> Any:
    answer = payloads.infer({"inputs": list(tensors), **request}, {"X-Mine": "1"}, model=MODEL)
    assert answer.status == 200, answer.body
    return answer.json()


def infer_bytes(payloads: Any, elements: list[bytes], name: str = "bytes", **request: Any) -> Any:
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    more = {"parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [{"name": name, "shape": [len(elements)], "datatype": "BYTES", **more}], **request})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return payloads.infer(head.encode() + raw, headers, model=MODEL)


@pytest.mark.parametrize(
    ("answer", "body", "content_type"),
    [("text", b"plain", "text/plain; charset=utf-8"), ("bytes", b"\xff\xfe", "application/octet-stream")],
)
def test_a_whole_body_is_sent_as_it_is(payloads: Any, answer: str, body: bytes, content_type: str) -> None:
    found = predict(payloads, {"answer": answer})
    assert (found.status, found.body, found.headers["content-type"]) == (200, body, content_type)


def test_headers_go_both_ways_and_none_that_the_server_answers_for(payloads: Any) -> None:
    for answer in (predict(payloads, {"instances": [[1]]}), payloads.infer({"inputs": [TENSOR]}, model=MODEL)):
        assert answer.headers["x-model"] == "yes"
        assert answer.headers["zeroflow-revision"] == "iris-predictor-00001"
        assert not {"x-split", "set-cookie"} & answer.headers.keys()


@pytest.mark.parametrize("content_type", ["image/jpeg", "text/plain"])
def test_what_is_no_json_reaches_the_class_as_bytes(payloads: Any, content_type: str) -> None:
    assert predict(payloads, b"\xff\xd8\xff", Content_Type=content_type).json() == {"predictions": [3]}
    event = {"ce_id": "1", "ce_source": "s", "ce_type": "t", "ce_specversion": "1.0"}
    assert predict(payloads, b"\xff\xd8\xff", Content_Type=content_type, **event).json() == {"predictions": [3]}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "application/x-www-form-urlencoded", ""])
def test_what_is_json_or_says_nothing_is_read(payloads: Any, content_type: str) -> None:
    assert predict(payloads, {"instances": [[1, 2]]}, Content_Type=content_type).json() == {"predictions": [[1, 2]]}
    assert predict(payloads, b"\xff", Content_Type=content_type).status == 400


def test_a_response_of_tensors_is_an_answer_of_v1_too(payloads: Any) -> None:
    output = {"name": "y", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]}
    found = predict(payloads, {"answer": "response"})
    assert found.json() == {"id": "made", "model_name": "Payloads", "outputs": [output]}


def test_what_is_no_answer_is_the_models_fault(payloads: Any) -> None:
    found = predict(payloads, {"answer": "object"})
    assert (found.status, found.error) == (500, "the model's answer is no JSON: Type is not JSON serializable: object")


def test_what_a_request_says_besides_its_tensors_reaches_the_class_and_back(payloads: Any) -> None:
    given = {**TENSOR, "name": "said", "parameters": {"content_type": "np"}}
    outputs = [{"name": "y", "parameters": {"of": "output"}}]
    found = infer(payloads, given, id="7", parameters={"a": 1}, outputs=outputs)
    said = ["7", {"a": 1}, {"content_type": "np"}, "1", False, [["y", {"of": "output"}]]]
    assert found["outputs"][0]["data"] == [repr(said)]
    assert (found["parameters"], found["outputs"][0]["parameters"]) == ({"of": "all"}, {"of": "y"})
    assert found["id"] == "7"
    assert infer(payloads, given)["id"] == "made"


def test_tensors_by_the_helpers(payloads: Any) -> None:
    assert infer(payloads, TENSOR)["outputs"] == [{**TENSOR, "name": "output-0"}]
    texts = {"name": "x", "shape": [2], "datatype": "BYTES", "data": ["a", "ü"]}
    assert infer(payloads, texts)["outputs"] == [{**texts, "name": "output-0"}]


def test_a_data_frame_by_content_type(payloads: Any) -> None:
    pytest.importorskip("pandas")
    texts = {"name": "t", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}
    assert infer(payloads, TENSOR, texts, parameters={"content_type": "pd"})["outputs"] == [TENSOR, texts]


def test_bytes_that_are_no_text_pass_through(payloads: Any) -> None:
    answer = infer_bytes(payloads, [b"\xff\xd8\x00", b"text"], parameters={"binary_data_output": True})
    assert answer.status == 200
    length = int(answer.headers["inference-header-content-length"])
    raw = answer.body[length:]
    assert raw.startswith(b"\x03\0\0\0\xff\xd8\x00\x04\0\0\0text")
    assert raw.endswith(b"\x05\0\0\0bytes\x03\0\0\0str")


def test_bytes_that_are_no_text_are_no_json(payloads: Any) -> None:
    answer = infer_bytes(payloads, [b"\xff\xd8\x00"])
    assert answer.status == 400
    assert "output 'y' holds bytes that are no text" in answer.error


def test_bytes_that_are_no_text_are_refused_where_text_is_meant(iris: Any) -> None:
    raw = struct.pack("<I", 1) + b"\xff"
    head = {"name": "x", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(raw)}}
    text = json.dumps({"inputs": [head]}).encode()
    answer = iris.infer(text + raw, {"Inference-Header-Content-Length": str(len(text))})
    assert (answer.status, answer.error) == (400, "inputs[0] (x): element 0 is not UTF-8")


def test_metadata_are_those_that_the_class_declares(payloads: Any) -> None:
    metadata = payloads.get(f"/v2/models/{MODEL}").json()
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP64", "shape": [-1, 2]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": "FP64", "shape": [-1]}]


def test_whole_numbers_of_64_bits_without_a_sign(payloads: Any) -> None:
    given = {"name": "x", "shape": [2], "datatype": "UINT64", "data": [1, (1 << 64) - 1]}
    assert infer(payloads, given)["outputs"] == [{**given, "name": "output-0"}]


def test_the_same_by_grpc_where_every_element_is_bytes(clients_python: str, payloads: Any) -> None:
    script = Path(__file__).parent / "clients" / "triton_bytes.py"
    command = [clients_python, str(script), f"127.0.0.1:{payloads.port}", MODEL]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {
        "same": True,
        "kinds": ["bytes", "bytes"],
        "said": repr([None, {"a": 1}, {}, "1", True, []]),
        "parameters": {"of": "all"},
    }
