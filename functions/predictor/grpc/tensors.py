"""Tensors in gRPC messages as numpy arrays, and back: raw bytes, or the repeated field of the datatype."""

from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import binary, shapes
from zeroflow.functions.predictor.protocols.tensors import NUMPY_TYPES
from zeroflow.models.estimator import datatype_of

if TYPE_CHECKING:
    import numpy as np

FIELDS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


def read(request: Any, as_bytes: bool = False) -> "list[tuple[str, np.ndarray[Any, Any]]]":
    """Return the inputs of a ModelInferRequest; raise BadRequest naming the fault.

    With `as_bytes` elements of BYTES stay bytes, as classes written for KServe's gRPC expect them; else they are text.
    """
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise BadRequest(f"raw_input_contents has {len(raw)} entries, inputs has {len(request.inputs)}")
    found = []
    for at, tensor in enumerate(request.inputs):
        place = f"inputs[{at}] ({tensor.name})"
        if tensor.datatype not in NUMPY_TYPES:
            raise BadRequest(f"{place}: datatype {tensor.datatype!r} is none of {', '.join(NUMPY_TYPES)}")
        shape = shapes.checked(tensor.shape, place)
        if not raw:
            found.append((tensor.name, _array(tensor, shape, place, as_bytes)))
            continue
        if tensor.HasField("contents"):
            raise BadRequest(f"{place} has contents beside raw_input_contents")
        dtype = NUMPY_TYPES[tensor.datatype]
        array = binary.decoded(memoryview(raw[at]), shape, dtype, place, as_bytes)
        found.append((tensor.name, _encoded(array) if as_bytes and dtype == "object" else array))
    return found


def _encoded(texts: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
    import numpy as np

    return np.array([binary.bytes_of(value) for value in texts.ravel()], dtype=object).reshape(texts.shape)


def _array(tensor: Any, shape: tuple[int, ...], place: str, as_bytes: bool) -> "np.ndarray[Any, Any]":
    import numpy as np

    field = FIELDS.get(tensor.datatype)
    if field is None:
        raise BadRequest(f"{place}: {tensor.datatype} has no contents of its own; send it in raw_input_contents")
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise BadRequest(f"{place}: {tensor.datatype} belongs into {field}, the request has {other.name}")
    values = getattr(tensor.contents, field)
    size = shapes.count(shape)
    if len(values) != size:
        raise BadRequest(f"{place}: shape {shapes.shown(shape)} holds {size} values, {field} has {len(values)}")
    if tensor.datatype == "BYTES":
        try:
            found = np.array([value if as_bytes else value.decode() for value in values], dtype=object)
        except UnicodeDecodeError:
            raise BadRequest(f"{place}: its bytes are not UTF-8") from None
        return shapes.reshaped(found, shape, place)
    wide = np.array(values)
    typed = wide.astype(NUMPY_TYPES[tensor.datatype])
    if wide.dtype.kind in "iu" and not np.array_equal(wide, typed):
        raise BadRequest(f"{place}: {field} holds values outside the range of {tensor.datatype}")
    return shapes.reshaped(typed, shape, place)


def write(response: Any, name: str, array: "np.ndarray[Any, Any]", raw: bool) -> None:
    """Add an output to a ModelInferResponse, all of them in the same way."""
    datatype = datatype_of(array.dtype)
    output = response.outputs.add(name=name, datatype=datatype, shape=array.shape)
    if raw:
        response.raw_output_contents.append(binary.encoded(array))
    elif datatype == "BYTES":
        output.contents.bytes_contents.extend(binary.bytes_of(value) for value in array.ravel())
    else:
        getattr(output.contents, FIELDS[datatype]).extend(array.ravel().tolist())


def must_be_raw(found: "dict[str, np.ndarray[Any, Any]]") -> bool:
    """Say whether an output has a datatype that only raw bytes can carry."""
    return any(datatype_of(array.dtype) not in FIELDS for array in found.values())
