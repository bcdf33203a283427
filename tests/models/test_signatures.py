"""Signatures, read from what the formats' own libraries write."""

import json
from pathlib import Path

import pytest

from zeroflow.models import signatures


def test_onnx_graph_as_its_own_library_writes_it(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", 4])
    weight = helper.make_tensor_value_info("weight", TensorProto.FLOAT, [4, 2])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None, 2])
    weights = helper.make_tensor("weight", TensorProto.FLOAT, [4, 2], [0.0] * 8)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "weight"], ["label"])], "g", [rows, weight], [label], [weights]
    )
    file = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), str(file))
    expected = {
        "inputs": [{"name": "rows", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "label", "datatype": "INT64", "shape": [-1, 2]}],
    }
    assert signatures.of(file) == expected
    assert signatures.of(tmp_path) == expected


def test_mlflow_columns_and_tensors(tmp_path: Path) -> None:
    inputs = [{"type": "double", "name": "x"}, {"type": "string", "name": "s"}]
    outputs = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
    (tmp_path / "MLmodel").write_text(
        json.dumps({"signature": {"inputs": json.dumps(inputs), "outputs": json.dumps(outputs)}})
    )
    assert signatures.of(tmp_path) == {
        "inputs": [
            {"name": "x", "datatype": "FP64", "shape": [-1]},
            {"name": "s", "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": "", "datatype": "FP32", "shape": [-1, 3]}],
    }


@pytest.mark.parametrize("content", [b"", b"\x3a\xff\xff\xff\x7f", b"\x3a\x03\x5a\x01\x07", b"\xff" * 40], ids=repr)
def test_bytes_that_are_no_graph_tell_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    assert signatures.of(file) in (None, {"inputs": [], "outputs": []})


def test_what_has_no_signature_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: {}")
    assert signatures.of(tmp_path) is None
    assert signatures.of(tmp_path / "missing.onnx") is None
