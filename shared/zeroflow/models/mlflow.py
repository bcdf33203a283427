"""MLflow model directories, by their `MLmodel`: the flavour's own file where this release reads it, else pyfunc.

A scikit-learn or ONNX flavour needs no MLflow. Every other one is loaded by `mlflow.pyfunc`, which runs the code that
the directory names, so somebody must vouch for it, as for a pickle. The signature gives columns and their types.

Source: MLflow, "MLflow models" (storage format, signatures).
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.errors import CorruptModel, FormatNotSupported
from zeroflow.models.estimator import Estimator, Tensor
from zeroflow.models.texts import inside, text_of

if TYPE_CHECKING:
    import numpy as np

TEXT_TYPES = ("string",)
NUMPY_TYPES = {"boolean": "bool", "integer": "int32", "long": "int64", "float": "float32", "double": "float64"}


def flavours(path: Path) -> dict[str, dict[str, Any]]:
    """Return the flavours that an MLmodel file lists; raise CorruptModel."""
    return {name: value for name, value in _document(path)["flavors"].items() if isinstance(value, dict)}


def file_of(path: Path, name: str) -> Path:
    """Return the file of a flavour, inside the directory; raise CorruptModel."""
    flavour = flavours(path)[name]
    said = flavour.get("pickled_model") or flavour.get("data")
    if not isinstance(said, str):  # whatever else it is may be enormous when it is written out
        raise CorruptModel(f"MLmodel names no file for the flavour {name}")
    found = inside(path.parent, said, path.name)
    if not found.is_file():
        raise CorruptModel(f"MLmodel names {said[:200]!r} for the flavour {name}, which is no file")
    return found


def read(path: Path, sha256: str) -> Estimator:
    """Load a directory through mlflow.pyfunc; raise what MLflow raises."""
    try:
        pyfunc: Any = importlib.import_module("mlflow.pyfunc")
    except ImportError as error:
        names = ", ".join(flavours(path))
        raise FormatNotSupported(
            f"{path.parent.name} is an MLflow model of the flavours {names}; install zeroflow[mlflow] to serve it"
        ) from error
    if "python_function" not in flavours(path):
        raise FormatNotSupported("the MLflow model has no python_function flavour; log it with mlflow.pyfunc")
    columns = _columns(path)
    model = _Pyfunc(pyfunc.load_model(str(path.parent)), columns)
    return Estimator(
        model=model,
        kind="mlflow.pyfunc",
        sha256=sha256,
        width=len(columns) if columns else None,
        columns=tuple(columns) if columns else None,
        text_columns=frozenset(name for name, kind in columns.items() if kind in TEXT_TYPES),
        takes_text=False,
        takes_missing=True,
        needs_frame=bool(columns),
        platform="mlflow_pyfunc",
        answers=(Tensor("predict", "FP64", ()),),
    )


class _Pyfunc:
    """Gives MLflow its columns in the types of the signature."""

    def __init__(self, model: Any, columns: Mapping[str, str]) -> None:
        self._model, self._columns = model, columns

    def predict(self, rows: Any) -> "np.ndarray[Any, Any]":
        import numpy as np

        if self._columns:
            kinds = {name: NUMPY_TYPES[kind] for name, kind in self._columns.items() if kind in NUMPY_TYPES}
            rows = rows.astype(kinds)
        found = self._model.predict(rows)
        return np.asarray(found.to_numpy() if hasattr(found, "to_numpy") else found)


def _columns(path: Path) -> dict[str, str]:
    """Return the signature's columns and their types; empty when it has none, or tensors."""
    import json

    signature = _document(path).get("signature") or {}
    try:
        inputs = json.loads(signature.get("inputs") or "[]")
        columns = {str(each["name"]): str(each["type"]) for each in inputs if each.get("type") != "tensor"}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptModel(f"MLmodel has a signature that cannot be read: {error}") from error
    known = {*NUMPY_TYPES, *TEXT_TYPES}
    if other := [name for name, kind in columns.items() if kind not in known]:
        raise FormatNotSupported(
            f"column {other[0]!r} of the MLflow signature is of type {columns[other[0]]}; served: {', '.join(known)}"
        )
    return columns


def _document(path: Path) -> dict[str, Any]:
    import yaml

    from zeroflow import safe_yaml

    text = text_of(path)
    try:
        found = safe_yaml.load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise CorruptModel(f"MLmodel is not YAML: {error}") from error
    if not isinstance(found, dict) or not isinstance(found.get("flavors"), dict):
        raise CorruptModel("MLmodel has no flavors")
    return found
