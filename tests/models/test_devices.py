"""How models are asked on a GPU, with a stand-in for what CUDA does; tests/predictor/test_gpu.py uses a real one.

The stand-in computes on the processor and writes down what it is asked, in order. It cannot show that streams and
pinned memory make anything faster, only that nothing is read before it is there.
"""

import contextlib
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from zeroflow.models import devices

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")


class OutOfMemoryError(RuntimeError):
    pass


class FakeCuda:
    """torch, with a GPU that is this processor."""

    OutOfMemoryError = OutOfMemoryError

    def __init__(self) -> None:
        self.said: list[str] = []
        self.cuda = self
        self.now = threading.local()

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def is_available(self) -> bool:
        return True

    def synchronize(self) -> None:
        self.said.append("all settled")

    def empty_cache(self) -> None:
        self.said.append("emptied")

    def Stream(self) -> Any:  # noqa: N802 - torch's name
        return SimpleNamespace(synchronize=lambda: self.said.append("settled"))

    @contextlib.contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.now.stream = stream
        yield
        self.now.stream = None

    def from_numpy(self, array: Any) -> Any:
        return Pinnable(self, torch.from_numpy(array))

    def tensor(self, array: Any) -> Any:
        return Pinnable(self, torch.tensor(array))

    def empty(self, shape: Any, dtype: Any, pin_memory: bool) -> Any:
        assert pin_memory
        return Pinnable(self, torch.empty(shape, dtype=dtype))


class Pinnable:
    """A tensor that can be pinned, copied to the GPU and back."""

    def __init__(self, cuda: FakeCuda, tensor: Any) -> None:
        self._cuda, self._tensor = cuda, tensor

    def pin_memory(self) -> Any:
        self._cuda.said.append("pinned")
        return self

    def to(self, device: str, non_blocking: bool) -> Any:
        assert (device, non_blocking) == ("cuda", True)
        self._cuda.said.append("in")
        return self._tensor

    def copy_(self, tensor: Any, non_blocking: bool) -> Any:
        assert non_blocking
        self._cuda.said.append("out")
        self._tensor.copy_(tensor)
        return self

    def numpy(self) -> Any:
        self._cuda.said.append("read")
        return self._tensor.numpy()


ROWS = np.ones((2, 3), dtype=np.float32)


def test_answers_are_read_after_their_stream_has_settled() -> None:
    cuda = FakeCuda()
    device = devices.found(cuda)
    assert (device.name, device.only_in) == ("cuda", os.getpid())
    (found,) = device.call(lambda rows: (rows * 2,), [ROWS], [None])
    assert np.array_equal(found, 2 * ROWS)
    assert cuda.said == ["all settled", "pinned", "in", "out", "settled", "read"]
    cuda.said.clear()
    device.call(lambda rows: rows.to(torch.bfloat16), [ROWS], [torch.float16])
    assert cuda.said == ["pinned", "in", "out", "settled", "read"]


def test_a_full_gpu_is_emptied_and_says_so_and_the_next_call_is_answered() -> None:
    cuda = FakeCuda()
    device = devices.found(cuda)

    def module(rows: Any) -> Any:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    for _ in range(devices.LANES + 1):  # a stream that is not given back would block the last call
        with pytest.raises(MemoryError, match="no room"):
            device.call(module, [ROWS], [None])
    assert "emptied" in cuda.said
    assert device.call(lambda rows: rows, [ROWS], [None]).shape == (2, 3)


def test_only_so_many_calls_run_at_once() -> None:
    cuda = FakeCuda()
    device = devices.found(cuda)
    inside, together, go = 0, 0, threading.Event()
    lock = threading.Lock()
    full = threading.Semaphore(0)

    def module(rows: Any) -> Any:
        nonlocal inside, together
        with lock:
            inside += 1
            together = max(together, inside)
        full.release()
        assert go.wait(20)
        with lock:
            inside -= 1
        return rows

    threads = [threading.Thread(target=device.call, args=(module, [ROWS], [None])) for _ in range(3 * devices.LANES)]
    for thread in threads:
        thread.start()
    for _ in range(devices.LANES):
        assert full.acquire(timeout=20)
    assert not full.acquire(timeout=0.1)
    go.set()
    for thread in threads:
        thread.join(20)
    assert together == devices.LANES
