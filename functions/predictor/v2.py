"""Protocol V2: the Open Inference Protocol over REST.

A model that takes one matrix is given one two-dimensional tensor of any name, or one tensor for each column by name.
Outputs are `predict` and, for a classifier that has it, `predict_proba`; a request that names none gets `predict`
alone, as MLServer answers, because the other doubles the work. The binary tensor extension is refused (501), never
misread.

Source: Open Inference Protocol, inference_rest.md and open_inference_rest.yaml.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor import rows, tensors
from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.served import Served
from zeroflow.models.estimator import Tensor

if TYPE_CHECKING:
    import numpy as np

PLATFORM = "sklearn_sklearn"


def server_metadata() -> dict[str, Any]:
    """Describe this server."""
    try:
        release = version("zeroflow")
    except PackageNotFoundError:
        release = "0"
    return {"name": "zeroflow", "version": release, "extensions": []}


def model_metadata(served: Served) -> dict[str, Any]:
    """Describe the model: its real inputs and outputs."""
    model = served.estimator
    return {
        "name": served.name,
        "versions": [served.version] if served.version else [],
        "platform": PLATFORM,
        "inputs": [_described(tensor) for tensor in model.inputs],
        "outputs": [_described(tensor) for tensor in model.outputs],
        "properties": {"estimator": model.kind, "sha256": model.sha256},
    }


def infer(served: Served, body: Any) -> dict[str, Any]:
    """Return the answer to an inference request's JSON body; its arrays are numpy's."""
    if not isinstance(body, dict):
        raise BadRequest('the body must be a JSON object with "inputs"')
    if not isinstance(body.get("inputs"), list) or not body["inputs"]:
        raise BadRequest('the body must have "inputs": a list with at least one tensor')
    identifier = body.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest("id must be a string")
    methods = _wanted(served, body.get("outputs"))
    given = [tensors.read(tensor, f"inputs[{at}]") for at, tensor in enumerate(body["inputs"])]
    matrix = _rows(served, given)
    answer: dict[str, Any] = {"model_name": served.name}
    if served.version is not None:
        answer["model_version"] = served.version
    if identifier is not None:
        answer["id"] = identifier
    answer["outputs"] = [tensors.write(method, served.ask(method, matrix)) for method in methods]
    return answer


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _wanted(served: Served, outputs: Any) -> list[str]:
    if outputs is None or outputs == []:
        return ["predict_proba" if served.probabilities else "predict"]
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadRequest("outputs must be a list of objects with a name")
    known = served.estimator.methods
    for output in outputs:
        if output.get("name") not in known:
            raise BadRequest(f"output {output.get('name')!r} is none of this model's outputs: {', '.join(known)}")
    return [output["name"] for output in outputs]


def _rows(served: Served, given: list[tuple[str, "np.ndarray[Any, Any]"]]) -> "np.ndarray[Any, Any]":
    model = served.estimator
    names = [name for name, _ in given]
    if len(set(names)) < len(names):
        raise BadRequest(f"inputs name {next(name for name in names if names.count(name) > 1)!r} twice")
    by_column = model.columns is not None and set(names) == set(model.columns) and given[0][1].shape[1:] in ((), (1,))
    if len(given) > 1 or by_column or model.text_columns:
        return _from_columns(served, dict(given))
    name, array = given[0]
    if model.takes_text:
        if array.dtype != object:
            raise BadRequest(f"input {name!r} must be of datatype BYTES: this model takes text")
        return array.reshape(-1)
    if array.dtype == object:
        raise BadRequest(f"input {name!r} is of datatype BYTES, this model takes numbers")
    return _checked(served, array, f"input {name!r}")


def _from_columns(served: Served, given: dict[str, "np.ndarray[Any, Any]"]) -> "np.ndarray[Any, Any]":
    import numpy as np

    model = served.estimator
    if model.columns is None:
        raise BadRequest(
            f"this model takes one tensor of shape {[-1, model.width or -1]}, the request has {len(given)}"
        )
    if missing := [name for name in model.columns if name not in given]:
        raise BadRequest(
            f"inputs lack the column {missing[0]!r}; the model's columns are {', '.join(model.columns[:12])}"
        )
    if unknown := [name for name in given if name not in model.columns]:
        raise BadRequest(f"inputs have a column {unknown[0]!r} that the model does not know")
    columns = []
    for name in model.columns:
        array = given[name]
        if array.shape[1:] not in ((), (1,)):
            raise BadRequest(f"input {name!r} has shape {list(array.shape)}, expected [n] or [n, 1]")
        if (name in model.text_columns) != (array.dtype == object):
            raise BadRequest(f"input {name!r} must {'' if name in model.text_columns else 'not '}be of datatype BYTES")
        columns.append(array.reshape(-1))
    if len({column.shape[0] for column in columns}) != 1:
        raise BadRequest("inputs differ in their number of rows")
    if model.text_columns:
        table = np.empty((columns[0].shape[0], len(columns)), dtype=object)
        for at, column in enumerate(columns):
            table[:, at] = column
        return table
    return _checked(served, np.column_stack(columns), "inputs")


def _checked(served: Served, array: "np.ndarray[Any, Any]", place: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    rows.check_width(array, served.estimator, place)
    if array.shape[0] == 0:
        raise BadRequest(f"{place} has no rows")
    matrix = array.astype(np.float64, copy=False)
    rows.check_finite(matrix, served.estimator, place)
    return matrix
