"""Where PyTorch programs compute: on a GPU where torch sees one, else on this processor.

On a GPU each call has a stream to itself and goes through pinned memory, so that one request's rows are copied while
another one's are computed; as many calls as copying in, computing and copying out can overlap run at once, further ones
wait. On a processor nothing is copied.

Source: PyTorch, CUDA semantics (streams, pinned memory buffers, memory management).
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from queue import LifoQueue
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

LANES = 3
"""Calls at once on a GPU: one is copied in, one computed, one copied out."""


class Device(Protocol):
    """Turns arrays into tensors where a module computes, and its answers into arrays. For several threads."""

    name: str
    only_in: int | None
    """The id of the one process that can compute there; None when a fork of it can as well."""

    def call(self, module: Callable[..., Any], arrays: Sequence["Array"], floats: Sequence[Any]) -> Any:
        """Return the module's answer with its tensors as arrays; fractions are given as `floats` says, if it does.

        Raises what the module raises; MemoryError when the device has no room for this call.
        """


def found(torch: Any) -> Device:
    """Return the device for models of this process."""
    return Gpu(torch) if torch.cuda.is_available() else Processor(torch)


class Processor:
    """This machine's processor."""

    name = "cpu"
    only_in: int | None = None

    def __init__(self, torch: Any) -> None:
        self._torch = torch

    def call(self, module: Callable[..., Any], arrays: Sequence["Array"], floats: Sequence[Any]) -> Any:
        torch = self._torch
        with torch.inference_mode():
            tensors = [_as(_tensor(torch, array), kind) for array, kind in zip(arrays, floats, strict=True)]
            return _mapped(module(*tensors), lambda tensor: _known(torch, tensor).numpy())


class Gpu:
    """The first GPU that torch sees."""

    name = "cuda"

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self.only_in: int | None = os.getpid()  # what CUDA holds does not survive a fork
        self._streams: LifoQueue[Any] = LifoQueue()
        for _ in range(LANES):
            self._streams.put(torch.cuda.Stream())
        # A model's weights come by the default stream; whoever asks it in another one must not overtake them.
        self._is_settled = False

    def call(self, module: Callable[..., Any], arrays: Sequence["Array"], floats: Sequence[Any]) -> Any:
        torch = self._torch
        if not self._is_settled:
            torch.cuda.synchronize()
            self._is_settled = True
        with ExitStack() as held:
            stream = self._streams.get()
            held.callback(self._streams.put, stream)
            held.enter_context(torch.cuda.stream(stream))
            held.enter_context(torch.inference_mode())
            try:
                tensors = [
                    _as(_tensor(torch, array).pin_memory().to(self.name, non_blocking=True), kind)
                    for array, kind in zip(arrays, floats, strict=True)
                ]
                answer = _mapped(module(*tensors), self._pinned)
                stream.synchronize()
            except torch.cuda.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise MemoryError("the GPU has no room for so many rows at once") from error
            return _mapped(answer, lambda tensor: tensor.numpy())

    def _pinned(self, tensor: Any) -> Any:
        torch = self._torch
        tensor = _known(torch, tensor)
        return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)


def _mapped(answer: Any, turned: Callable[[Any], Any]) -> Any:
    """Return an answer - a tensor, or a sequence or mapping of tensors - with each of them turned."""
    if isinstance(answer, Mapping):
        return {name: _mapped(each, turned) for name, each in answer.items()}
    if isinstance(answer, tuple | list):
        return [_mapped(each, turned) for each in answer]
    return turned(answer)


def _tensor(torch: Any, array: "Array") -> Any:
    """Return a tensor on an array's memory where torch may write to it, which it may not to a request's bytes."""
    return torch.from_numpy(array) if array.flags.writeable else torch.tensor(array)


def _as(tensor: Any, floats: Any) -> Any:
    return tensor.to(floats) if floats is not None and tensor.is_floating_point() else tensor


def _known(torch: Any, tensor: Any) -> Any:
    """Return a tensor of a type that numpy has."""
    return tensor.float() if tensor.dtype == torch.bfloat16 else tensor
