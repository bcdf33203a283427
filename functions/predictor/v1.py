"""Protocol V1: `{"instances": [rows]}` in, `{"predictions": [...]}` out, one prediction for each row, in order.

`inputs` is taken for `instances`, as KServe's server does. Sources: TensorFlow Serving REST API; KServe V1 protocol.
"""

from typing import Any

from zeroflow.functions.predictor import rows
from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.served import Served


def predict(served: Served, body: Any) -> dict[str, Any]:
    """Return the answer to a request's JSON body; its arrays are numpy's."""
    if not isinstance(body, dict):
        raise BadRequest('the body must be a JSON object with "instances"')
    field = "instances" if "instances" in body else "inputs"
    if field not in body:
        raise BadRequest('the body has no "instances" (nor "inputs")')
    matrix = rows.from_json(body[field], served.estimator, field)
    answer = served.ask("predict_proba" if served.probabilities else "predict", matrix)
    return {"predictions": answer.tolist() if answer.dtype.kind not in "fiu" else answer}
