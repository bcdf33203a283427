"""A request's JSON, with long lists of numbers as arrays at once.

A number costs some 25 ns to become a Python object and as much again to become one of an array; simdjson writes it
where it belongs (measured: 32 rows of 784 in 480 us instead of 1,300). Only documents of the plainest form are read so:
`{"instances": [[numbers], ...]}` with rows of one length, and V2's with flat `data` of FP32 and FP64. Any other one,
right or wrong, is orjson's: what is accepted and how a fault is named do not depend on this. simdjson is optional.
"""

import importlib
import threading
from typing import TYPE_CHECKING, Any

import orjson

from zeroflow.functions.predictor.errors import BadRequest

try:
    simdjson: Any = importlib.import_module("simdjson")
except ImportError:  # an extra
    simdjson = None

if TYPE_CHECKING:
    import numpy as np

WORTH_BYTES = 1024
"""Shorter documents are read sooner by orjson."""
FLOATS = ("FP32", "FP64")
FIELDS = ("instances", "inputs")
_own = threading.local()


def parsed(body: bytes | memoryview) -> Any:
    """Read a JSON body, whatever its content type says; raise BadRequest."""
    if not len(body):
        raise BadRequest("the body is empty; expected a JSON object")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Unrecognized request format: {error}") from error


def with_rows(body: bytes) -> Any:
    """Read a V1 request: its rows are a float64 array (rows, columns) where they can be, else a list."""
    return _quickly(body, _rows) or parsed(body)


def with_tensors(body: bytes | memoryview) -> Any:
    """Read a V2 request: `data` are flat float64 arrays where they can be, else lists."""
    return _quickly(body if isinstance(body, bytes) else bytes(body), _tensors) or parsed(body)


def _quickly(body: bytes, read: Any) -> dict[str, Any] | None:
    if simdjson is None or len(body) < WORTH_BYTES:
        return None
    parser = getattr(_own, "parser", None)
    if parser is None:
        parser = _own.parser = simdjson.Parser()
    try:
        found: dict[str, Any] | None = read(parser.parse(body), body)
    except (ValueError, TypeError, KeyError, RuntimeError, AttributeError):
        _own.parser = None  # something of the document may still be held
        return None
    return found


def _rows(document: Any, body: bytes) -> dict[str, Any] | None:
    if len(document) != 1:
        return None
    (field,) = document
    rows = document[field]
    count, width = len(rows), len(rows[0])
    # As many brackets as rows and one: nothing in them is a list, and no row is anything else.
    if field not in FIELDS or not width or body.count(b"[") != count + 1 or any(len(row) != width for row in rows):
        return None
    return {field: _array(rows).reshape(count, width)}


def _tensors(document: Any, body: bytes) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    lists = 0
    for name in document:  # items() would make lists of everything
        value = document[name]
        if name == "inputs":
            found[name] = inputs = [_tensor(each) for each in value]
            lists += 1 + 2 * len(inputs)
        else:
            found[name] = _plain(value)
            lists += name == "outputs"
    return found if len(found) == len(document) and body.count(b"[") == lists else None


def _tensor(tensor: Any) -> dict[str, Any]:
    if tensor["datatype"] not in FLOATS:
        raise TypeError("not of numbers that may be read as doubles")
    found = {name: _array(tensor[name]) if name == "data" else _plain(tensor[name]) for name in tensor}
    if len(found) != len(tensor):
        raise KeyError("a name comes twice")
    return found


def _array(numbers: Any) -> "np.ndarray[Any, Any]":
    import numpy as np

    return np.frombuffer(numbers.as_buffer(of_type="d"))


def _plain(value: Any) -> Any:
    if hasattr(value, "as_dict"):
        return value.as_dict()
    return value.as_list() if hasattr(value, "as_list") else value
