"""ONNX models under ONNX Runtime: named tensors of any shape in and out.

The graph is read from memory: one that refers to other files (external data) is refused by ONNX Runtime, so that a
model can point at nothing outside itself. Source: ONNX IR; ONNX Runtime Python API.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.compiled import runtime
from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.estimator import Tensor
from zeroflow.models.tensormodel import TensorModel

if TYPE_CHECKING:
    import numpy as np

DATATYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "bool": "BOOL",
    "string": "BYTES",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
CUDA = "CUDAExecutionProvider"


def read(path: Path, sha256: str) -> TensorModel:
    """Load a graph; on a GPU where this ONNX Runtime has one."""
    session = runtime.session(path.read_bytes(), _providers())
    outputs = tuple(_tensor(each) for each in session.get_outputs())
    provider = session.get_providers()[0]
    return TensorModel(
        kind="onnx graph",
        sha256=sha256,
        platform="onnx_onnxruntime",
        inputs=tuple(_tensor(each) for each in session.get_inputs()),
        outputs=outputs,
        run=lambda given, wanted: _run(session, given, wanted),
        serves=f"original, {provider.removesuffix('ExecutionProvider')}",
        only_in=os.getpid() if provider == CUDA else None,
    )


def _providers() -> tuple[str, ...]:
    found = runtime.library().get_available_providers()
    return (CUDA, "CPUExecutionProvider") if CUDA in found else ("CPUExecutionProvider",)


def _run(session: Any, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
    try:
        found = session.run(list(wanted), dict(given))
    except Exception as error:
        if type(error).__name__ == "InvalidArgument":  # shapes that the graph finds out about while it runs
            raise ValueError(str(error)) from error
        raise
    return dict(zip(wanted, found, strict=True))


def _tensor(described: Any) -> Tensor:
    inner = described.type.removeprefix("tensor(").removesuffix(")")
    if inner not in DATATYPES or not described.type.startswith("tensor("):
        raise FormatNotSupported(f"{described.name!r} of the ONNX model is a {described.type}, expected a tensor")
    return Tensor(
        described.name,
        DATATYPES[inner],
        tuple(size if isinstance(size, int) else -1 for size in described.shape or ()),
    )
