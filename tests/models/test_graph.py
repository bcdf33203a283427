"""The ONNX graphs that are written here are those that the onnx package makes."""

from typing import Any

import numpy as np
import pytest

from zeroflow.models.compiled import graph, leaves

onnx: Any = pytest.importorskip("onnx", reason="it says what a graph is")
TREES = [
    leaves.Nodes(
        feature=np.array([300, -2, 1, -2, -2]),
        threshold=np.array([0.5, -2, 1e30, -2, -2]),
        left=np.array([1, -1, 3, -1, -1]),
        right=np.array([2, -1, 4, -1, -1]),
        missing_left=np.array([1, 0, 0, 0, 0], dtype=np.uint8),
        values=np.zeros((5, 1)),
    ),
    leaves.Nodes(*(np.array([each]) for each in (-2, -2.0, -1, -1, 0)), values=np.zeros((1, 1))),
]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_graph_is_what_the_onnx_package_makes(kind):
    helper, proto = onnx.helper, onnx.TensorProto
    thresholds, places = np.array([0.5, 0, 1e30, 0, 0, 0], dtype=kind), np.array([1, 3, 4, 5], dtype=kind)
    if kind is np.float32:  # the next one is above 1e30, to which 1e30 would compare equal
        thresholds[2] = np.nextafter(thresholds[2], kind(-np.inf))
    numbers = {"nodes_values": thresholds, "target_weights": places}
    if kind is np.float64:
        numbers = {f"{name}_as_tensor": onnx.numpy_helper.from_array(array) for name, array in numbers.items()}
    operator = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["leaves"],
        domain="ai.onnx.ml",
        n_targets=2,
        nodes_treeids=[0, 0, 0, 0, 0, 1],
        nodes_nodeids=[0, 1, 2, 3, 4, 0],
        nodes_featureids=[300, 0, 1, 0, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 3, 0, 0, 0],
        nodes_falsenodeids=[2, 0, 4, 0, 0, 0],
        nodes_missing_value_tracks_true=[1, 0, 0, 0, 0, 0],
        target_treeids=[0, 0, 0, 1],
        target_nodeids=[1, 3, 4, 0],
        target_ids=[0, 0, 0, 1],
        **numbers,
    )
    element = proto.DOUBLE if kind is np.float64 else proto.FLOAT
    taken = helper.make_tensor_value_info("rows", element, [None, 400])
    answered = helper.make_tensor_value_info("leaves", proto.FLOAT, [None, 2])
    made = helper.make_graph([operator], "graph", [taken], [answered])
    versions = [helper.make_opsetid("", leaves.OPSET), helper.make_opsetid("ai.onnx.ml", leaves.ML_OPSET)]
    expected = helper.make_model(made, opset_imports=versions, ir_version=leaves.IR_VERSION)
    written = onnx.load_model_from_string(leaves._graph(TREES, 400, kind))
    onnx.checker.check_model(written)
    for each in (written, expected):  # helper sorts them
        each.graph.node[0].attribute.sort(key=lambda attribute: attribute.name)
    assert str(written) == str(expected)


def test_numbers_are_written_as_protocol_buffers_writes_them():
    numbers = [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28, 2**35 - 1]
    attribute = onnx.AttributeProto(strings=[], ints=numbers)
    found = onnx.AttributeProto.FromString(
        b"\x42" + bytes([len(graph.varints(np.array(numbers)))]) + graph.varints(np.array(numbers))
    )
    assert found.ints == attribute.ints
    assert graph.varints(np.array([300])) == b"\xac\x02"  # the documentation's own example
