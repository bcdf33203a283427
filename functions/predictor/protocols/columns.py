"""The tensors of a V2 request as the rows of a model that takes one matrix."""

from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import rows
from zeroflow.models.estimator import Estimator

if TYPE_CHECKING:
    import numpy as np


def matrix(model: Estimator, given: list[tuple[str, "np.ndarray[Any, Any]"]]) -> "np.ndarray[Any, Any]":
    """Return the rows that a request's tensors hold: one tensor of all columns, or one for each."""
    names = [name for name, _ in given]
    by_column = model.columns is not None and set(names) == set(model.columns) and given[0][1].shape[1:] in ((), (1,))
    if len(given) > 1 or by_column or model.text_columns:
        return _from_columns(model, dict(given))
    name, array = given[0]
    if model.takes_text:
        if array.dtype != object:
            raise BadRequest(f"input {name!r} must be of datatype BYTES: this model takes text")
        return array.reshape(-1)
    if array.dtype == object:
        raise BadRequest(f"input {name!r} is of datatype BYTES, this model takes numbers")
    return _checked(model, array, f"input {name!r}")


def _from_columns(model: Estimator, given: dict[str, "np.ndarray[Any, Any]"]) -> "np.ndarray[Any, Any]":
    import numpy as np

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
    return _checked(model, np.column_stack(columns), "inputs")


def _checked(model: Estimator, array: "np.ndarray[Any, Any]", place: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    rows.check_width(array, model, place)
    if array.shape[0] == 0:
        raise BadRequest(f"{place} has no rows")
    matrix = array.astype(np.float64, copy=False)
    rows.check_finite(matrix, model, place)
    return matrix
