"""What a model takes and gives, read where its format writes it down: an MLflow `MLmodel` file, or an ONNX graph.

Nothing of the model is run. A tensor is {name, datatype, shape} as the Open Inference Protocol spells it, -1 for a size
that is free. Sources: MLflow, model signature; ONNX IR (onnx.proto3: ModelProto 7, GraphProto 5, 11, 12); Open
Inference Protocol v2, tensor data types.
"""

import json
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Tensor = dict[str, Any]

MAX_FILE_BYTES = 1 << 20
"""Of an MLmodel file."""

_MLFLOW = {
    "double": "FP64",
    "float": "FP32",
    "long": "INT64",
    "integer": "INT32",
    "boolean": "BOOL",
    "string": "BYTES",
    "binary": "BYTES",
    "datetime": "BYTES",
}
_NUMPY = {"float64": "FP64", "float32": "FP32", "float16": "FP16", "bool": "BOOL", "object": "BYTES", "str": "BYTES"}
_ONNX = {
    1: "FP32",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "BYTES",
    9: "BOOL",
    10: "FP16",
    11: "FP64",
    12: "UINT32",
    13: "UINT64",
    16: "BF16",
}


def of(model: Path) -> dict[str, list[Tensor]] | None:
    """Return {inputs, outputs} of a model's file or directory; None when nothing there tells."""
    try:
        if model.is_dir():
            declared = model / "MLmodel"
            if declared.is_file():
                return _of_mlmodel(declared)
            graphs = sorted(model.glob("*.onnx"))
            return _of_onnx(graphs[0]) if len(graphs) == 1 else None
        return _of_onnx(model) if model.suffix == ".onnx" else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None  # what cannot be read tells nothing; whoever loads the model says what is wrong with it


def _of_mlmodel(file: Path) -> dict[str, list[Tensor]] | None:
    import yaml

    from zeroflow import safe_yaml

    if file.stat().st_size > MAX_FILE_BYTES:
        return None
    try:
        signature = safe_yaml.load(file.read_text()).get("signature")
    except yaml.YAMLError:
        return None
    if not signature:
        return None
    return {
        side: [_of_mlflow(one) for one in json.loads(signature.get(side) or "[]")] for side in ("inputs", "outputs")
    }


def _of_mlflow(one: dict[str, Any]) -> Tensor:
    if one["type"] == "tensor":
        spec = one["tensor-spec"]
        dtype = str(spec["dtype"])
        datatype = _NUMPY.get(dtype) or dtype.upper()
        return {"name": one.get("name", ""), "datatype": datatype, "shape": list(spec["shape"])}
    return {"name": one.get("name", ""), "datatype": _MLFLOW.get(str(one["type"]), "BYTES"), "shape": [-1]}


def _of_onnx(file: Path) -> dict[str, list[Tensor]] | None:
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        graph = next((value for number, value in _fields(data, 0, len(data)) if number == 7), None)
        if not isinstance(graph, slice):
            return None
        weights: set[str] = set()
        sides: dict[int, list[Tensor]] = {11: [], 12: []}
        for number, value in _fields(data, graph.start, graph.stop):
            if not isinstance(value, slice):
                continue
            if number == 5:
                weights |= {data[one].decode() for at, one in _fields(data, *_ends(value)) if at == 8}
            elif number in sides:
                sides[number].append(_of_value(data, value))
        return {"inputs": [one for one in sides[11] if one["name"] not in weights], "outputs": sides[12]}


def _of_value(data: mmap.mmap, place: slice) -> Tensor:
    name, datatype, shape = "", "", []
    for number, value in _fields(data, *_ends(place)):
        if number == 1:
            name = data[value].decode()
        elif number == 2:
            tensor = dict(_fields(data, *_ends(value))).get(1)
            for part, inner in _fields(data, *_ends(tensor)) if isinstance(tensor, slice) else ():
                if part == 1:
                    datatype = _ONNX.get(inner, "")
                elif part == 2:
                    sizes = (dict(_fields(data, *_ends(dim))) for _, dim in _fields(data, *_ends(inner)))
                    shape = [size.get(1) or -1 for size in sizes]
    return {"name": name, "datatype": datatype, "shape": shape}


def _ends(place: slice) -> tuple[int, int]:
    return place.start, place.stop


def _fields(data: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of a protobuf message: an int, or the slice where a nested message or text lies."""
    while at < end:
        key, at = _varint(data, at)
        match key & 7:
            case 0:
                value, at = _varint(data, at)
                yield key >> 3, value
            case 1:
                at += 8
            case 2:
                size, at = _varint(data, at)
                if at + size > end:
                    raise ValueError("a field ends after its message")
                yield key >> 3, slice(at, at + size)
                at += size
            case 5:
                at += 4
            case _:
                raise ValueError("no protobuf message")


def _varint(data: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("no varint")
