"""A loaded model that takes and gives named tensors of any shape: an ONNX graph, a TorchScript module.

Guarantees: safe to call from several threads.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor

if TYPE_CHECKING:
    import numpy as np

Run = Callable[[Mapping[str, Any], tuple[str, ...]], "dict[str, np.ndarray[Any, Any]]"]


@dataclass(frozen=True)
class TensorModel:
    """A model behind the one call that serving needs."""

    kind: str
    """What it is, for people."""
    sha256: str
    """Content hash of the bytes it was loaded from."""
    platform: str
    """Framework and form, as the Open Inference Protocol's metadata name them."""
    inputs: tuple[Tensor, ...]
    """A shape of () means that the model does not say."""
    outputs: tuple[Tensor, ...]
    run: Run = field(repr=False)
    """Answer the outputs that are named; ValueError when the model refuses its inputs."""
    serves: str = "original"
