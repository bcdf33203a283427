"""The graph that answers, for each row and tree, the number of the leaf that the row falls into."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zeroflow.models.compiled import graph, runtime

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
    left = np.concatenate([each.left for each in trees])
    leaf = left < 0
    tree = np.repeat(np.arange(len(trees)), [len(each.left) for each in trees])
    node = np.concatenate([np.arange(len(each.left)) for each in trees])
    wide = "_as_tensor" if kind is np.float64 else ""
    attributes = {
        "n_targets": len(trees),
        "nodes_treeids": tree,
        "nodes_nodeids": node,
        "nodes_featureids": np.where(leaf, 0, np.concatenate([each.feature for each in trees])),
        "nodes_modes": [b"LEAF" if each else b"BRANCH_LEQ" for each in leaf.tolist()],
        "nodes_truenodeids": np.where(leaf, 0, left),
        "nodes_falsenodeids": np.where(leaf, 0, np.concatenate([each.right for each in trees])),
        "nodes_missing_value_tracks_true": np.concatenate([each.missing_left for each in trees]),
        "target_treeids": tree[leaf],
        "target_nodeids": node[leaf],
        "target_ids": tree[leaf],
        f"nodes_values{wide}": np.where(
            leaf, 0, _thresholds(np.concatenate([each.threshold for each in trees]), kind)
        ).astype(kind),
        f"target_weights{wide}": np.flatnonzero(leaf).astype(kind),
    }
    return graph.model(
        graph.node("TreeEnsembleRegressor", "ai.onnx.ml", "rows", "leaves", attributes),
        graph.matrix("rows", graph.DOUBLE if kind is np.float64 else graph.FLOAT, width),
        graph.matrix("leaves", graph.FLOAT, len(trees)),
        {"": OPSET, "ai.onnx.ml": ML_OPSET},
        IR_VERSION,
    )


def _thresholds(exact: Array, kind: Any) -> Array:
    """Return, for a comparison `column <= threshold`, thresholds of `kind` that decide alike for all its values."""
    near = exact.astype(kind)
    above = near > exact
    near[above] = np.nextafter(near[above], kind(-np.inf))
    return near
