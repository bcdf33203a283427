"""From JSON values to the rows that a model takes, with every fault named by its place.

A row is a list of values in column order, an object by column name, or a string for a text model. Several rows may come
as one table, as pandas reads it and KServe's servers take it: an object of columns, each a list of values or an object
of values by row, or a list of row objects; a column that a table lacks is missing in all its rows. `null` is a missing
value, for models that bear one. Numbers must be finite; booleans count as 0 and 1; strings are never read as numbers.
"""

from typing import TYPE_CHECKING, Any

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.protocols import numbers
from zeroflow.models.estimator import Estimator

if TYPE_CHECKING:
    import numpy as np


def from_json(instances: Any, model: Estimator, field: str = "instances") -> "np.ndarray[Any, Any]":
    """Return the rows of a JSON list, or of the array that it was read as; raise BadRequest naming the first fault."""
    import numpy as np

    if isinstance(instances, np.ndarray):  # has been read as numbers
        if _fits(instances, model):
            return instances
        instances = instances.tolist()
    if not isinstance(instances, list):
        raise BadRequest(f'Expected "{field}" to be a list of rows, got {_kind(instances)}')
    if not instances:
        raise BadRequest(f'"{field}" is empty; expected at least one row')
    if model.takes_text:
        return _texts(instances, field)
    if _is_table(instances[0]):
        instances = [row for at, table in enumerate(instances) for row in _rows_of(table, model, f"{field}[{at}]")]
        if not instances:
            raise BadRequest(f'"{field}" holds tables without rows; expected at least one row')
    if isinstance(instances[0], dict):
        instances = _by_name(instances, model, field)
    if not model.text_columns and (matrix := _numbers(instances)) is not None and _fits(matrix, model):
        return matrix
    _check_rows(instances, model, field)
    return _mixed(instances, model, field)


def check_width(rows: "np.ndarray[Any, Any]", model: Estimator, field: str) -> None:
    """Raise BadRequest unless a matrix has the model's number of columns."""
    if rows.ndim != 2:
        raise BadRequest(f"{field} has {rows.ndim} dimension{'s' * (rows.ndim != 1)}, expected 2: (rows, columns)")
    if model.width is not None and rows.shape[1] != model.width:
        raise BadRequest(f"{field} has {rows.shape[1]} columns, the model takes {model.width}{_names(model)}")


def check_finite(rows: "np.ndarray[Any, Any]", model: Estimator, field: str) -> None:
    """Raise BadRequest for infinite numbers, and for missing ones unless the model bears them."""
    import numpy as np

    bad = np.isinf(rows) if model.takes_missing else ~np.isfinite(rows)
    if bad.any():
        row, column = (int(at) for at in np.argwhere(bad)[0])
        what = "missing, and this model takes no missing values" if np.isnan(rows[row, column]) else "not finite"
        raise BadRequest(f"{field}[{row}][{column}] is {what}")


def _numbers(instances: list[Any]) -> "np.ndarray[Any, Any] | None":
    """Convert rows of finite numbers in one go; None when they are anything else."""
    import numpy as np

    if (quick := numbers.matrix(instances)) is not None:
        return quick if np.isfinite(quick).all() else None
    try:
        matrix = np.array(instances)
    except ValueError:
        return None
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiub" or not np.isfinite(matrix).all():
        return None
    return matrix.astype(np.float64, copy=False)


def _fits(matrix: "np.ndarray[Any, Any]", model: Estimator) -> bool:
    return model.width is None or matrix.shape[1] == model.width


def _texts(instances: list[Any], field: str) -> "np.ndarray[Any, Any]":
    import numpy as np

    for at, text in enumerate(instances):
        if not isinstance(text, str):
            raise BadRequest(f"{field}[{at}] is {_kind(text)}, expected a string: this model takes text")
    return np.array(instances, dtype=object)


def _is_table(given: Any) -> bool:
    if isinstance(given, dict):
        return any(isinstance(value, list | dict) for value in given.values())
    return isinstance(given, list) and bool(given) and isinstance(given[0], dict)


def _rows_of(table: Any, model: Estimator, place: str) -> list[Any]:
    """Return the rows of a table, by column name where the model has names; BadRequest where columns do not fit."""
    if isinstance(table, dict):
        keys = None
        for name, column in table.items():
            if not isinstance(column, list | dict):
                raise BadRequest(f"{place}[{name!r}] is {_kind(column)}, but other columns hold values of several rows")
            found = list(column) if isinstance(column, dict) else list(range(len(column)))
            if keys is None:
                keys = found
            if sorted(map(str, found)) != sorted(map(str, keys)):
                raise BadRequest(f"{place}[{name!r}] has other rows than the columns before it")
        rows = [{name: column[key] for name, column in table.items()} for key in keys or ()]
    elif isinstance(table, list) and all(isinstance(row, dict) for row in table):
        rows = table
    else:
        raise BadRequest(f"{place} is {_kind(table)}, expected a table, as the first one is")
    if model.columns is None:  # by the order of the table's columns, as pandas has them
        return [list(row.values()) for row in rows]
    if not model.takes_missing:
        return rows
    absent = dict.fromkeys(model.columns)
    return [{**absent, **row} for row in rows]


def _by_name(instances: list[Any], model: Estimator, field: str) -> list[list[Any]]:
    if model.columns is None:
        raise BadRequest(f"{field}[0] is an object, but this model has no column names; send each row as a list")
    wanted = set(model.columns)
    rows = []
    for at, row in enumerate(instances):
        if not isinstance(row, dict):
            raise BadRequest(f"{field}[{at}] is {_kind(row)}, but {field}[0] is an object; send all rows alike")
        if row.keys() != wanted:
            if missing := [name for name in model.columns if name not in row]:
                raise BadRequest(f"{field}[{at}] lacks column {missing[0]!r}{_names(model)}")
            unknown = next(name for name in row if name not in wanted)
            raise BadRequest(f"{field}[{at}] has a column {unknown!r} that the model does not know{_names(model)}")
        rows.append([row[name] for name in model.columns])
    return rows


def _check_rows(instances: list[Any], model: Estimator, field: str) -> None:
    width = model.width if model.width is not None else None
    for at, row in enumerate(instances):
        if not isinstance(row, list):
            takes = "numbers" if width is None else f"{width} values"
            raise BadRequest(f"{field}[{at}] is {_kind(row)}, expected a list of {takes}")
        if width is None:
            width = len(row)
        if len(row) != width:
            raise BadRequest(f"{field}[{at}] has {len(row)} values, expected {width}{_names(model)}")
        for column, value in enumerate(row):
            _check_value(value, f"{field}[{at}][{column}]", model, column)


def _check_value(value: Any, place: str, model: Estimator, column: int) -> None:
    name = model.columns[column] if model.columns else None
    said = f"{place} ({name})" if name else place
    if value is None:
        if not model.takes_missing:
            raise BadRequest(f"{said} is null, and this model takes no missing values")
    elif name in model.text_columns:
        if not isinstance(value, str):
            raise BadRequest(f"{said} is {_kind(value)}, expected a string")
    elif not isinstance(value, int | float):
        raise BadRequest(f"{said} is {_kind(value)}, expected a number")


def _mixed(instances: list[list[Any]], model: Estimator, field: str) -> "np.ndarray[Any, Any]":
    """Build rows with missing values or text; their values have been checked."""
    import numpy as np

    if model.text_columns:
        return np.array(instances, dtype=object)
    rows = np.array(instances, dtype=np.float64)  # None becomes NaN
    check_finite(rows, model, field)
    return rows


def _names(model: Estimator) -> str:
    if not model.columns:
        return ""
    shown = ", ".join(model.columns[:12])
    return f"; its columns are {shown}{', ...' if len(model.columns) > 12 else ''}"


def _kind(value: Any) -> str:
    """Say what a JSON value is."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
