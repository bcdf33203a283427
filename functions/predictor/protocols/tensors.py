"""Tensors of protocol V2 (Open Inference Protocol, REST) as numpy arrays, and back.

Data come flat or nested, in row-major order; their number must be the product of the shape, which is checked before
anything of that size is made. A value must belong to the datatype: no string becomes a number, no fraction an
integer.
"""

from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import binary, numbers, shapes
from zeroflow.models.estimator import Tensor, datatype_of
from zeroflow.models.tensormodel import TensorModel

if TYPE_CHECKING:
    import numpy as np

NUMPY_TYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
QUICK = ("FP32", "FP64")


def read(
    tensor: Any, place: str, buffer: binary.Buffer, booleans: bool = True, any_bytes: bool = False
) -> tuple[str, "np.ndarray[Any, Any]"]:
    """Return name and array of a request's input; raise BadRequest naming the fault.

    `booleans` says whether true or false may be among the data, for which numpy takes 1 and 0; `any_bytes`, whether raw
    BYTES that are no text are taken, as bytes.
    """
    if not isinstance(tensor, dict):
        raise BadRequest(f"{place} must be an object with name, shape, datatype and data")
    parameters = tensor.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise BadRequest(f"{place}.parameters must be an object")
    raw = parameters is not None and "binary_data_size" in parameters
    if raw and "data" in tensor:
        raise BadRequest(f"{place} has both data and a binary_data_size")
    for field in ("name", "shape", "datatype", *(() if raw else ("data",))):
        if field not in tensor:
            raise BadRequest(f"{place} has no {field!r}")
    name, datatype = tensor["name"], tensor["datatype"]
    if not isinstance(name, str):
        raise BadRequest(f"{place}.name must be a string")
    if not isinstance(datatype, str) or datatype not in NUMPY_TYPES:
        raise BadRequest(f"{place} ({name}): datatype {datatype!r} is none of {', '.join(NUMPY_TYPES)}")
    shape = _shape(tensor["shape"], f"{place} ({name})")
    if parameters is not None and raw:
        data = buffer.take(parameters["binary_data_size"], f"{place} ({name})")
        return name, binary.decoded(data, shape, NUMPY_TYPES[datatype], f"{place} ({name})", any_bytes)
    if booleans and datatype not in ("BOOL", "BYTES") and _holds_boolean(tensor["data"]):
        raise BadRequest(f"{place} ({name}): data holds true or false, which are no {datatype} values")
    return name, _array(tensor["data"], shape, datatype, f"{place} ({name})")


def write(name: str, array: "np.ndarray[Any, Any]") -> dict[str, Any]:
    """Return a response output; numeric data stay a flat numpy array for the JSON encoder."""
    import numpy as np

    described = head(name, array)
    datatype = described["datatype"]
    flat = np.ascontiguousarray(array).reshape(-1)
    data: Any = flat if array.dtype.kind in "fiu" and datatype != "FP16" else flat.tolist()
    if datatype == "BYTES":
        data = [binary.text_of(value, name) for value in data]
    return described | {"data": data}


def head(name: str, array: "np.ndarray[Any, Any]") -> dict[str, Any]:
    """Return a response output without its data."""
    return {"name": name, "shape": list(array.shape), "datatype": datatype_of(array.dtype)}


def from_json(rows: list[Any], tensor: Tensor, place: str) -> "np.ndarray[Any, Any]":
    """Return a V1 request's rows as the array that an input takes."""
    import numpy as np

    text = tensor.datatype == "BYTES"
    quick = numbers.matrix(rows) if tensor.datatype in QUICK else None
    if quick is not None:
        return _shaped(_typed(quick, tensor.datatype, place), tensor, place)
    try:
        found = np.array(rows, dtype=object) if text else np.array(rows)
    except ValueError:
        raise BadRequest(f"{place} is ragged: its rows differ in length") from None
    if text and not all(isinstance(value, str) for value in found.flat):
        raise BadRequest(f"{place}: input {tensor.name!r} takes strings")
    typed = found if text else _typed(found, tensor.datatype, f"{place} (input {tensor.name!r})")
    return _shaped(typed, tensor, place)


def fitting(given: "list[tuple[str, np.ndarray[Any, Any]]]", model: TensorModel) -> "dict[str, np.ndarray[Any, Any]]":
    """Return a V2 request's tensors as a model's inputs; BadRequest naming the one that does not fit."""
    if len(model.inputs) == len(given) == 1:
        given = [(model.inputs[0].name, given[0][1])]
    found = dict(given)
    known = {tensor.name: tensor for tensor in model.inputs}
    if missing := [name for name in known if name not in found]:
        raise BadRequest(f"inputs lack {missing[0]!r}; the model's inputs are {', '.join(known)}")
    if unknown := [name for name in found if name not in known]:
        raise BadRequest(f"the model has no input {unknown[0]!r}; its inputs are {', '.join(known)}")
    fitted = {}
    for name, array in found.items():
        tensor = known[name]
        will_do = tensor.is_guess and array.dtype.kind in ("iu" if tensor.datatype == "INT64" else "biuf")
        if datatype_of(array.dtype) != tensor.datatype and not will_do:
            raise BadRequest(
                f"input {name!r} is of datatype {datatype_of(array.dtype)}, the model takes {tensor.datatype}"
            )
        fitted[name] = _shaped(array, tensor, f"input {name!r}")
    return fitted


def _shaped(array: "np.ndarray[Any, Any]", tensor: Tensor, place: str) -> "np.ndarray[Any, Any]":
    """Check an array against an input's shape, where the model says one."""
    wanted = tensor.shape
    if wanted and (
        array.ndim != len(wanted)
        or any(size not in (-1, given) for size, given in zip(wanted, array.shape, strict=True))
    ):
        raise BadRequest(f"{place} has shape {list(array.shape)}, input {tensor.name!r} takes {list(wanted)}")
    return array


def _shape(shape: Any, place: str) -> tuple[int, ...]:
    if not isinstance(shape, list) or not all(type(size) is int for size in shape):
        raise BadRequest(f"{place}: shape must be a list of non-negative integers, got {str(shape)[:80]}")
    return shapes.checked(shape, place)


def _holds_boolean(data: Any) -> bool:
    waiting = [data]  # no recursion: lists may be nested as deeply as the parser lets them
    while waiting:
        value = waiting.pop()
        if type(value) is bool:
            return True
        if type(value) is list:
            waiting.extend(value)
    return False


def _array(data: Any, shape: tuple[int, ...], datatype: str, place: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    if not isinstance(data, list | np.ndarray):
        raise BadRequest(f"{place}: data must be a list")
    text = datatype == "BYTES"
    quick = numbers.flat(data) if datatype in QUICK else None
    try:
        found = quick if quick is not None else np.array(data, dtype=object) if text else np.array(data)
    except ValueError:
        raise BadRequest(f"{place}: data is ragged: its rows differ in length") from None
    if datatype == "UINT64" and found.dtype.kind == "f":  # numpy's common type of small and very large numbers
        found = np.array(data, dtype=object)
    size = shapes.count(shape)
    if found.size != size:
        raise BadRequest(f"{place}: shape {shapes.shown(shape)} holds {size} values, data {found.size}")
    if found.ndim != 1 and found.shape != shape:
        raise BadRequest(f"{place}: data is nested as {shapes.shown(found.shape)}, shape says {shapes.shown(shape)}")
    if text:
        if not all(isinstance(value, str) for value in found.flat):
            raise BadRequest(f"{place}: data of datatype BYTES must be strings")
        return shapes.reshaped(found, shape, place)
    return shapes.reshaped(_typed(found, datatype, place), shape, place)


def _typed(found: "np.ndarray[Any, Any]", datatype: str, place: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    wanted = np.dtype(NUMPY_TYPES[datatype])
    if found.size == 0:
        return found.astype(wanted)
    if (
        wanted.kind == "f"
        and found.dtype.kind == "O"
        and all(value is None or isinstance(value, int | float) for value in found.flat)
    ):
        return found.astype(wanted)  # null is a missing value
    if wanted.kind == "u" and found.dtype.kind == "O" and all(type(value) is int for value in found.flat):
        if any(not 0 <= value < 1 << 8 * wanted.itemsize for value in found.flat):
            raise BadRequest(f"{place}: data holds values outside the range of {datatype}")
        return found.astype(wanted)
    allowed = {"f": "fiu", "i": "iu", "u": "iu", "b": "b"}[wanted.kind]
    if found.dtype.kind not in allowed:
        raise BadRequest(f"{place}: data does not hold {datatype} values")
    with np.errstate(over="ignore"):
        typed = found.astype(wanted)
    beyond = np.isinf(typed).any() if wanted.kind == "f" and wanted.itemsize < 8 else False  # JSON has no infinity
    if beyond or (wanted.kind in "iu" and not np.array_equal(typed, found)):
        raise BadRequest(f"{place}: data holds values outside the range of {datatype}")
    return typed
