"""Any other scikit-learn model whose columns are numbers, as skl2onnx converts it, in double precision.

The conversion is someone else's, so its answers count as equal only within TOLERANCE (see `check`); a model that is
not faster afterwards is not taken.
"""

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from zeroflow.models.compiled import runtime

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]


def heads(model: Any, width: int) -> Mapping[str, Method]:
    """Convert a model; raise what skl2onnx raises when it cannot."""
    skl2onnx: Any = importlib.import_module("skl2onnx")
    columns = importlib.import_module("skl2onnx.common.data_types").DoubleTensorType([None, width])
    classifies = hasattr(model, "classes_")
    options = {id(model): {"zipmap": False}} if classifies else None
    graph = skl2onnx.to_onnx(model, initial_types=[("rows", columns)], options=options)
    session = runtime.session(graph.SerializeToString())
    outputs = [output.name for output in session.get_outputs()]
    classes = getattr(model, "classes_", None)

    def predict(rows: Array) -> Array:
        (found,) = session.run(outputs[:1], {"rows": np.ascontiguousarray(rows)})
        if classes is not None and found.dtype != classes.dtype:
            return np.asarray(found.astype(classes.dtype))
        return np.asarray(found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found)

    def predict_proba(rows: Array) -> Array:
        return np.asarray(session.run(outputs[1:2], {"rows": np.ascontiguousarray(rows)})[0])

    methods: dict[str, Method] = {"predict": predict}
    if classifies and callable(getattr(model, "predict_proba", None)):
        methods["predict_proba"] = predict_proba
    return methods
