"""Protocol V1: `{"instances": [rows]}` in, `{"predictions": [...]}` out, one prediction for each row, in order.

`inputs` is taken for `instances`, as KServe's server does. A model of tensors with one input takes a list of rows for
it; one with several takes objects that name them. Sources: TensorFlow Serving REST API; KServe V1 protocol.
"""

from collections.abc import Mapping
from typing import Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.protocols import rows, tensors
from zeroflow.models.python import PythonModel
from zeroflow.models.tensormodel import TensorModel


def read(served: Served, body: Any) -> Any:
    """Return what the model is to be asked: a matrix, or the arrays of its inputs."""
    if isinstance(served.model, PythonModel):
        return body  # what it may be is the class's own business
    if not isinstance(body, dict):
        raise BadRequest('the body must be a JSON object with "instances"')
    field = "instances" if "instances" in body else "inputs"
    if field not in body:
        raise BadRequest('the body has no "instances" (nor "inputs")')
    if isinstance(served.model, TensorModel):
        return _named(served.model, body[field], field)
    return rows.from_json(body[field], served.model, field)


def ask(served: Served, question: Any, headers: Mapping[str, str], answer_headers: dict[str, str] | None = None) -> Any:
    """Return one prediction for each row, or whatever a Python class answers."""
    if isinstance(served.model, PythonModel):
        return served.guarded(served.model.answer, question, headers, "predict", answer_headers)
    if isinstance(served.model, TensorModel):
        name = served.model.outputs[0].name
        return served.run(question, (name,))[name]
    return served.ask("predict_proba" if served.probabilities else "predict", question)


def write(served: Served, answer: Any) -> Any:
    """Return the answer for the JSON encoder, which takes numpy's numbers as they are."""
    if isinstance(served.model, PythonModel):
        return answer
    told = {} if served.batcher is None else {"message": "", "batchId": served.batcher.batch_id}
    plain = answer.dtype.kind in "fiu" and answer.dtype.itemsize > 2 and answer.flags.c_contiguous
    return {**told, "predictions": answer if plain else answer.tolist()}


def _named(model: TensorModel, instances: Any, field: str) -> dict[str, Any]:
    if not hasattr(instances, "dtype") and (not isinstance(instances, list) or not instances):
        raise BadRequest(f'Expected "{field}" to be a list with at least one row')
    if not isinstance(instances[0], dict):
        if len(model.inputs) != 1:
            names = ", ".join(tensor.name for tensor in model.inputs)
            raise BadRequest(f"{field}[0] must be an object that names the inputs {names}")
        return {model.inputs[0].name: tensors.from_json(instances, model.inputs[0], field)}
    found = {}
    for tensor in model.inputs:
        for at, row in enumerate(instances):
            if not isinstance(row, dict) or tensor.name not in row:
                raise BadRequest(f"{field}[{at}] has no input {tensor.name!r}")
        found[tensor.name] = tensors.from_json([row[tensor.name] for row in instances], tensor, field)
    return found
