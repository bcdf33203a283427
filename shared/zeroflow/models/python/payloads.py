"""Between payloads and arrays, as classes written for KServe do it: `kserve.utils.utils` and `numpy_codec`.

Source: kserve 0.21, utils/utils.py (get_predict_input, get_predict_response) and utils/numpy_codec.py.
"""

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import datatype_of
from zeroflow.models.python.tensors import KINDS, InferOutput, InferRequest, InferResponse

if TYPE_CHECKING:
    import numpy as np


def get_predict_input(payload: Any, columns: Sequence[str] | None = None) -> Any:
    """Return what a model predicts for: an array, texts, or a data frame of rows with names."""
    import numpy as np

    if isinstance(payload, InferRequest):
        if payload.parameters.get("content_type") == "pd":
            return payload.as_dataframe()
        first = payload.inputs[0]
        return first.data if first.datatype == "BYTES" and first.holds_text else first.as_numpy()
    rows = payload["inputs"] if "inputs" in payload else payload["instances"]
    first_row = rows[0] if len(rows) else None
    nested = isinstance(first_row, list) and first_row and isinstance(first_row[0], dict)
    if isinstance(first_row, dict) or nested:
        import pandas as pd

        return pd.concat([pd.DataFrame(row, columns=columns) for row in rows], axis=0)
    return rows if isinstance(first_row, str) else np.array(rows)


def get_predict_response(payload: Any, result: Any, model_name: str) -> Any:
    """Return the answer to a payload: a dictionary to one, an InferResponse to an InferRequest."""
    import numpy as np

    frame = hasattr(result, "iterrows")
    if not isinstance(payload, InferRequest):
        if frame:
            return {"predictions": [row.to_dict() for _, row in result.iterrows()]}
        return {"predictions": result.tolist() if isinstance(result, np.ndarray) else result}
    columns = {str(name): result[name].to_numpy() for name in result.columns} if frame else {"output-0": _array(result)}
    outputs = []
    for name, array in columns.items():
        made = InferOutput.of(name, array)
        assert isinstance(made, InferOutput)
        outputs.append(made)
    return InferResponse(payload.id or generate_uuid(), model_name, outputs)


def generate_uuid() -> str:
    """Return a new identifier."""
    return str(uuid.uuid4())


def from_np_dtype(dtype: Any) -> str | None:
    """Return the protocol's name of a numpy type."""
    return datatype_of(dtype)


def to_np_dtype(name: str) -> Any:
    """Return the numpy type of a protocol's name; None for another name."""
    import numpy as np

    return np.dtype(KINDS[name]).type if name in KINDS else None


def _array(result: Any) -> "np.ndarray[Any, Any]":
    import numpy as np

    text = isinstance(result, list) and result and isinstance(result[0], str)
    return np.array(result, dtype=object) if text else np.asarray(result)
