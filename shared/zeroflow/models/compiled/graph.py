"""ONNX graphs of one operator as bytes, without the onnx package.

That takes 0.15 s and 9 MB to import, and four microseconds for each node of a forest to make a message of; here arrays
are written as a whole. Only what the graphs of `leaves` need is known. Source: ONNX, onnx-ml.proto (IR version 8), and
Protocol Buffers' encoding: numbers of repeated fields may be packed whether or not a field is declared so.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

FLOAT, DOUBLE = 1, 11
"""TensorProto.DataType."""
_INT, _TENSOR, _FLOATS, _INTS, _STRINGS = 2, 4, 6, 7, 8
"""AttributeProto.AttributeType."""
_VARINT, _LENGTH = 0, 2
"""Protocol Buffers' wire types."""
_BITS, _LONGEST = 7, 5
"""A byte of a varint holds so many bits of its number; those here have at most five bytes."""


def model(node: bytes, given: bytes, answered: bytes, opsets: Mapping[str, int], ir_version: int) -> bytes:
    """Return a ModelProto whose graph is one node."""
    graph = _part(1, node) + _part(2, b"graph") + _part(11, given) + _part(12, answered)
    versions = [_part(8, _part(1, domain.encode()) + _number(2, version)) for domain, version in opsets.items()]
    return _number(1, ir_version) + _part(7, graph) + b"".join(versions)


def node(kind: str, domain: str, given: str, answered: str, attributes: Mapping[str, Any]) -> bytes:
    """Return a NodeProto; attributes are numbers, arrays of numbers (float64 ones become tensors) or lists of texts."""
    parts = [_part(1, given.encode()), _part(2, answered.encode()), _part(4, kind.encode())]
    parts += [_part(5, _attribute(name, value)) for name, value in attributes.items()]
    return b"".join([*parts, _part(7, domain.encode())])


def matrix(name: str, element: int, width: int) -> bytes:
    """Return the ValueInfoProto of a matrix (any number of rows, width)."""
    shape = _part(1, b"") + _part(1, _number(1, width))
    return _part(1, name.encode()) + _part(2, _part(1, _number(1, element) + _part(2, shape)))


def _attribute(name: str, value: int | Array | Sequence[bytes]) -> bytes:
    return _part(1, name.encode()) + _valued(value)


def _valued(value: int | Array | Sequence[bytes]) -> bytes:
    if isinstance(value, int):
        return _number(3, value) + _number(20, _INT)
    if not isinstance(value, np.ndarray):
        written = {each: _part(9, each) for each in set(value)}
        return b"".join([written[each] for each in value]) + _number(20, _STRINGS)
    if value.dtype == np.float64:
        tensor = _number(1, len(value)) + _number(2, DOUBLE) + _part(9, value.astype("<f8").tobytes())
        return _part(5, tensor) + _number(20, _TENSOR)
    if value.dtype == np.float32:
        return _part(7, value.astype("<f4").tobytes()) + _number(20, _FLOATS)
    return _part(8, varints(value)) + _number(20, _INTS)


def varints(numbers: Array) -> bytes:
    """Return whole numbers from 0 to 2**35 - 1, one after the other, as Protocol Buffers writes them."""
    shifts = _BITS * np.arange(_LONGEST, dtype=np.uint64)
    shifted = numbers.astype(np.uint64)[:, None] >> shifts
    used = shifted > 0
    used[:, 0] = True  # zero has a byte
    groups = (shifted & 0x7F).astype(np.uint8)
    groups[:, :-1] |= used[:, 1:].astype(np.uint8) << _BITS  # there is more to come
    return groups[used].tobytes()


def _number(field: int, value: int) -> bytes:
    return varints(np.array([field << 3 | _VARINT, value]))


def _part(field: int, value: bytes) -> bytes:
    return varints(np.array([field << 3 | _LENGTH, len(value)])) + value
