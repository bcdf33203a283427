"""The graph that answers, for each row and tree, the number of the leaf that the row falls into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zeroflow.models.compiled import runtime

Array = np.ndarray[Any, Any]

NAMED = ["leaves"]
OPSET, ML_OPSET, IR_VERSION = 15, 3, 8
"""Old enough for every ONNX Runtime since 1.10."""


@dataclass(frozen=True)
class Nodes:
    """The nodes of one tree; `left` is negative at a leaf."""

    feature: Array
    threshold: Array
    left: Array
    right: Array
    missing_left: Array
    values: Array
    """(nodes, outputs), float64."""


def leaf_finder(trees: Sequence[Nodes], width: int, kind: Any, bounded: bool = True) -> Callable[[Array], Array]:
    """Return a function from (rows, columns) to leaf numbers (rows, trees); `kind` is what the trees compare in.

    Nodes are numbered through all trees, so that a number says where in the values of all of them a leaf's are.
    """
    session = runtime.session(_graph(trees, width, kind))

    def find(rows: Array) -> Array:
        try:
            with np.errstate(over="raise" if bounded else "ignore"):
                given = np.ascontiguousarray(rows, dtype=kind)
        except FloatingPointError:
            raise ValueError(f"input contains a value too large for {np.dtype(kind).name}") from None
        found: Array = session.run(NAMED, {"rows": given})[0]
        return found

    return find


def _graph(trees: Sequence[Nodes], width: int, kind: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    left = np.concatenate([each.left for each in trees])
    leaf = left < 0
    tree = np.repeat(np.arange(len(trees)), [len(each.left) for each in trees])
    node = np.concatenate([np.arange(len(each.left)) for each in trees])
    threshold = np.where(leaf, 0, _thresholds(np.concatenate([each.threshold for each in trees]), kind)).astype(kind)
    weights = np.flatnonzero(leaf).astype(kind)
    values: dict[str, Any]
    if kind is np.float64:
        values = {
            "nodes_values_as_tensor": numpy_helper.from_array(threshold, "thresholds"),
            "target_weights_as_tensor": numpy_helper.from_array(weights, "leaves"),
        }
    else:
        values = {"nodes_values": threshold, "target_weights": weights}
    operator = helper.make_node(
        "TreeEnsembleRegressor",
        ["rows"],
        ["leaves"],
        domain="ai.onnx.ml",
        n_targets=len(trees),
        nodes_treeids=tree,
        nodes_nodeids=node,
        nodes_featureids=np.where(leaf, 0, np.concatenate([each.feature for each in trees])).astype(np.int64),
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_truenodeids=np.where(leaf, 0, left),
        nodes_falsenodeids=np.where(leaf, 0, np.concatenate([each.right for each in trees])),
        nodes_missing_value_tracks_true=np.concatenate([each.missing_left for each in trees]).astype(np.int64),
        target_treeids=tree[leaf],
        target_nodeids=node[leaf],
        target_ids=tree[leaf],
        **values,
    )
    element = TensorProto.DOUBLE if kind is np.float64 else TensorProto.FLOAT
    graph = helper.make_graph(
        [operator],
        "leaves",
        [helper.make_tensor_value_info("rows", element, [None, width])],
        [helper.make_tensor_value_info("leaves", TensorProto.FLOAT, [None, len(trees)])],
    )
    versions = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    return bytes(helper.make_model(graph, opset_imports=versions, ir_version=IR_VERSION).SerializeToString())


def _thresholds(exact: Array, kind: Any) -> Array:
    """Return, for a comparison `column <= threshold`, thresholds of `kind` that decide alike for all its values."""
    near = exact.astype(kind)
    above = near > exact
    near[above] = np.nextafter(near[above], kind(-np.inf))
    return near
