"""Tensors as raw bytes behind the JSON part of a request or an answer.

Numbers are little-endian, in row-major order, without padding; an element of BYTES is its length (4 bytes) and its
bytes. Numbers are read where they lie, without a copy. Source: Open Inference Protocol, binary tensor data extension
(Triton, protocol/extension_binary_data.md).
"""

import struct
from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import shapes

if TYPE_CHECKING:
    import numpy as np

LENGTH = struct.Struct("<I")
MAX_DIGITS = 20


class Buffer:
    """The bytes behind a request's JSON part; tensors take theirs in the order of `inputs`."""

    def __init__(self, raw: memoryview | None) -> None:
        self._raw, self._used = raw, 0

    def take(self, size: Any, place: str) -> memoryview:
        """Return the next `size` bytes."""
        if self._raw is None:
            raise BadRequest(f"{place} has a binary_data_size, but the request no Inference-Header-Content-Length")
        if type(size) is not int or size < 0:
            raise BadRequest(f"{place}: binary_data_size must be a number of bytes, got {str(size)[:40]}")
        left = len(self._raw) - self._used
        if size > left:
            raise BadRequest(f"{place}: binary_data_size is {size}, but only {left} bytes are left")
        self._used += size
        return self._raw[self._used - size : self._used]

    def check_used(self) -> None:
        """Raise BadRequest when bytes are left that no tensor takes."""
        if self._raw is not None and self._used < len(self._raw):
            raise BadRequest(f"{len(self._raw) - self._used} bytes follow the tensors' data")


def split(body: bytes, header: str) -> tuple[memoryview, memoryview]:
    """Return the JSON part of a body and what follows it."""
    number = header.isascii() and header.isdecimal() and len(header) <= MAX_DIGITS
    if not number or int(header) > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length must be 0 to the body's length ({len(body)}), got {header[:40]!r}"
        )
    view = memoryview(body)
    return view[: int(header)], view[int(header) :]


def decoded(
    data: memoryview, shape: tuple[int, ...], dtype: str, place: str, any_bytes: bool = False
) -> "np.ndarray[Any, Any]":
    """Return an array of the bytes; BadRequest when their number is not what the shape says.

    Elements of BYTES are strings; with `any_bytes`, those that are no text stay bytes.
    """
    import numpy as np

    count = shapes.count(shape)
    if dtype == "object":
        return shapes.reshaped(np.array(_texts(data, count, place, any_bytes), dtype=object), shape, place)
    kind = np.dtype(dtype).newbyteorder("<")
    if len(data) != count * kind.itemsize:
        wanted = f"shape {shapes.shown(shape)} takes {count * kind.itemsize} bytes"
        raise BadRequest(f"{place}: {wanted}, data has {len(data)}")
    return shapes.reshaped(np.frombuffer(data, dtype=kind), shape, place)


def encoded(array: "np.ndarray[Any, Any]") -> bytes:
    """Return the bytes of an array."""
    import numpy as np

    if array.dtype.kind in "fiub":
        return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<")).tobytes()
    texts = [bytes_of(value) for value in array.ravel()]
    return b"".join(LENGTH.pack(len(text)) + text for text in texts)


def bytes_of(value: object) -> bytes:
    """Return an element of BYTES as it is sent: bytes as they are, anything else as text."""
    return value if isinstance(value, bytes) else str(value).encode()


def text_of(value: object, name: str) -> str:
    """Return an element of BYTES as JSON takes it; raise BadRequest for bytes that are no text."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        said = "holds bytes that are no text, which JSON cannot; ask for it with binary_data"
        raise BadRequest(f"output {name!r} {said}") from None


def _texts(data: memoryview, count: int, place: str, any_bytes: bool) -> list[str | bytes]:
    found: list[str | bytes] = []
    at = 0
    while at < len(data):
        if at + LENGTH.size > len(data):
            raise BadRequest(f"{place}: its binary data end inside an element's length")
        (size,) = LENGTH.unpack_from(data, at)
        at += LENGTH.size
        if at + size > len(data):
            raise BadRequest(f"{place}: element {len(found)} is {size} bytes long, {len(data) - at} are left")
        element = bytes(data[at : at + size])
        try:
            found.append(element.decode())
        except UnicodeDecodeError:
            if not any_bytes:
                raise BadRequest(f"{place}: element {len(found)} is not UTF-8") from None
            found.append(element)
        at += size
    if len(found) != count:
        raise BadRequest(f"{place}: its shape holds {count} values, its binary data {len(found)}")
    return found
