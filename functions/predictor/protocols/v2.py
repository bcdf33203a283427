"""Protocol V2: the Open Inference Protocol over REST, with the binary tensor extension.

A model that takes one matrix is given one two-dimensional tensor of any name, or one tensor for each column by name;
a model of tensors is given its inputs by name (a single one under any name). Outputs of a matrix model are `predict`
and, for a classifier that has it, `predict_proba`; a request that names none gets `predict` alone, as MLServer
answers, because the other doubles the work.

Source: Open Inference Protocol, inference_rest.md and open_inference_rest.yaml; Triton's binary tensor data extension.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import orjson

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.protocols import binary, columns, tensors
from zeroflow.models.estimator import Estimator, Tensor
from zeroflow.models.python import PythonModel
from zeroflow.models.python.tensors import Outputs, Said
from zeroflow.models.tensormodel import TensorModel

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Request:
    """An inference request that has been read and checked."""

    question: Any
    outputs: tuple[str, ...]
    in_binary: frozenset[str]
    """Those of `outputs` that go out as raw bytes."""
    identifier: str | None
    parameters: Any = None
    all_binary: bool = False
    """Whether outputs that are not named go out as raw bytes."""
    said: Said | None = None
    """What else a class of somebody's own may look at."""


def server_metadata() -> dict[str, Any]:
    """Describe this server."""
    try:
        release = version("zeroflow")
    except PackageNotFoundError:
        release = "0"
    return {"name": "zeroflow", "version": release, "extensions": ["binary_tensor_data", "model_repository"]}


def model_metadata(served: Served) -> dict[str, Any]:
    """Describe the model: its real inputs and outputs."""
    model = served.model
    inputs, outputs = ([_described(tensor) for tensor in each] for each in (model.inputs, model.outputs))
    if isinstance(model, PythonModel):
        inputs, outputs = model.declared
    return {
        "name": served.name,
        "versions": [served.version] if served.version else [],
        "platform": model.platform,
        "inputs": inputs,
        "outputs": outputs,
        "properties": {"estimator": model.kind, "sha256": model.sha256, "serves": model.serves},
    }


def read(
    served: Served,
    body: Any,
    raw: memoryview | None = None,
    booleans: bool = True,
    headers: Mapping[str, str] = MappingProxyType({}),
    answer_headers: dict[str, str] | None = None,
) -> Request:
    """Read an inference request: its JSON part, and the bytes of its binary tensors where it has some.

    `booleans` says whether true or false occurs in it; the headers, of the request and of its answer, are for classes.
    """
    if not isinstance(body, dict):
        raise BadRequest('the body must be a JSON object with "inputs"')
    if not isinstance(body.get("inputs"), list) or not body["inputs"]:
        raise BadRequest('the body must have "inputs": a list with at least one tensor')
    identifier = body.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequest("id must be a string")
    outputs, in_binary, all_binary = _wanted(served, body)
    buffer = binary.Buffer(raw)
    own = isinstance(served.model, PythonModel)
    given = [tensors.read(tensor, f"inputs[{at}]", buffer, booleans, own) for at, tensor in enumerate(body["inputs"])]
    buffer.check_used()
    request = asked(served, given, outputs, identifier, body.get("parameters"))
    said = None
    if own:
        of_inputs = [tensor.get("parameters") or {} for tensor in body["inputs"]]
        wanted = [(each["name"], each.get("parameters") or {}) for each in body.get("outputs") or ()]
        said = Said(
            headers, of_inputs, wanted, served.version, answer_headers={} if answer_headers is None else answer_headers
        )
    return replace(request, in_binary=in_binary, all_binary=all_binary, said=said)


def outputs_of(served: Served, names: list[str]) -> tuple[str, ...]:
    """Return the outputs that a request names, or those it gets when it names none; raise BadRequest."""
    known = served.outputs
    for name in names:
        if name not in known and known:
            raise BadRequest(f"output {name!r} is none of this model's outputs: {', '.join(known)}")
    return tuple(dict.fromkeys(names)) or served.default_outputs


def asked(
    served: Served,
    given: "list[tuple[str, np.ndarray[Any, Any]]]",
    outputs: tuple[str, ...],
    identifier: str | None = None,
    parameters: Any = None,
) -> Request:
    """Return the request that tensors make; raise BadRequest when they do not fit the model."""
    names = [name for name, _ in given]
    if len(set(names)) < len(names):
        raise BadRequest(f"inputs name {Counter(names).most_common(1)[0][0]!r} twice")
    question: Any = given
    if isinstance(served.model, TensorModel):
        question = tensors.fitting(given, served.model)
    elif isinstance(served.model, Estimator):
        question = columns.matrix(served.model, given)
    return Request(question, outputs, frozenset(), identifier, parameters)


def ask(served: Served, request: Request) -> "dict[str, np.ndarray[Any, Any]]":
    """Return the model's outputs."""
    if isinstance(served.model, TensorModel):
        return served.run(request.question, request.outputs)
    if isinstance(served.model, Estimator):
        return {method: served.ask(method, request.question) for method in request.outputs}
    asked_of = (served.name, request.question, request.identifier, request.parameters, request.said)
    found = served.guarded(served.model.infer, *asked_of)
    if missing := [name for name in request.outputs if name not in found]:
        raise BadRequest(f"output {missing[0]!r} is none of this model's outputs: {', '.join(found)}")
    for name in [name for name in found if request.outputs and name not in request.outputs]:
        del found[name]
    return found


def write(served: Served, request: Request, found: "dict[str, np.ndarray[Any, Any]]") -> tuple[bytes, int | None]:
    """Return the encoded answer and, when tensors follow as bytes, the length of its JSON part."""
    answer: dict[str, Any] = {"model_name": served.name}
    if served.version is not None:
        answer["model_version"] = served.version
    if request.identifier is not None:
        answer["id"] = request.identifier
    of_outputs: Mapping[str, Mapping[str, Any]] = {}
    if isinstance(found, Outputs):
        of_outputs = found.of_outputs
        if found.parameters:
            answer["parameters"] = dict(found.parameters)
        if request.identifier is None and found.identifier:
            answer["id"] = found.identifier
    in_binary = found.keys() if request.all_binary and not request.outputs else request.in_binary
    if not in_binary:
        answer["outputs"] = [_told(tensors.write(name, array), of_outputs) for name, array in found.items()]
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), None
    outputs, parts = [], []
    for name, array in found.items():
        if name not in in_binary:
            outputs.append(_told(tensors.write(name, array), of_outputs))
            continue
        data = binary.encoded(array)
        described = _told(tensors.head(name, array), of_outputs)
        described["parameters"] = {**described.get("parameters", {}), "binary_data_size": len(data)}
        outputs.append(described)
        parts.append(data)
    head = orjson.dumps({**answer, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    return b"".join([head, *parts]), len(head)


def _told(output: dict[str, Any], of_outputs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Add an output's parameters, where a class gave it some."""
    more = of_outputs.get(output["name"])
    return output if not more else output | {"parameters": dict(more)}


def _described(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _wanted(served: Served, body: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str], bool]:
    """Return the outputs that a request asks for, those of them that it wants as bytes, and whether all are."""
    outputs = body.get("outputs")
    all_binary = _switch(body, "binary_data_output", "parameters", False)
    if outputs is None or outputs == []:
        default = served.default_outputs
        return default, frozenset(default if all_binary else ()), all_binary
    if not isinstance(outputs, list) or not all(isinstance(output, dict) for output in outputs):
        raise BadRequest("outputs must be a list of objects with a name")
    if not all(isinstance(output.get("name"), str) for output in outputs):
        raise BadRequest("outputs must be a list of objects with a name")
    names = outputs_of(served, [output["name"] for output in outputs])
    chosen = {
        output["name"]
        for at, output in enumerate(outputs)
        if _switch(output, "binary_data", f"outputs[{at}].parameters", all_binary)
    }
    return names, frozenset(chosen), all_binary


def _switch(holder: dict[str, Any], name: str, place: str, default: bool) -> bool:
    parameters = holder.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest(f"{place} must be an object")
    value = (parameters or {}).get(name, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{place}.{name} must be true or false")
    return value
