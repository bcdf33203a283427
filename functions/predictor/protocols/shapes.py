"""What a request says of a tensor's shape, checked before anything of that size is made or counted.

A shape is a few bytes, whatever it claims: dimensions are counted before they are multiplied (a product of a hundred
thousand of them takes minutes), and faults show the beginning of a long one. Source: numpy's limit of dimensions.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest

if TYPE_CHECKING:
    import numpy as np

MAX_DIMENSIONS = 64
SHOWN = 8


def checked(shape: Sequence[int], place: str) -> tuple[int, ...]:
    """Return the sizes of the dimensions; raise BadRequest unless they are at most MAX_DIMENSIONS, none negative."""
    if len(shape) > MAX_DIMENSIONS:
        raise BadRequest(f"{place}: shape has {len(shape)} dimensions, at most {MAX_DIMENSIONS} are possible")
    if shape and min(shape) < 0:
        raise BadRequest(f"{place}: shape must be a list of non-negative integers, got {shown(shape)}")
    return tuple(shape)


def count(shape: Sequence[int]) -> int:
    """Return how many values a tensor of the shape holds."""
    return math.prod(shape)


def reshaped(flat: "np.ndarray[Any, Any]", shape: tuple[int, ...], place: str) -> "np.ndarray[Any, Any]":
    """Return an array that has as many values as the shape in that shape; BadRequest when no array can have it."""
    try:
        return flat.reshape(shape)
    except (ValueError, OverflowError) as error:  # [0, 2**63]: no values, and more than an index can reach
        raise BadRequest(f"{place}: no tensor can have the shape {shown(shape)}") from error


def shown(shape: Sequence[int]) -> str:
    """Return a shape for a message."""
    said = ", ".join(str(size) for size in shape[:SHOWN])
    return f"[{said}, ...]" if len(shape) > SHOWN else f"[{said}]"
