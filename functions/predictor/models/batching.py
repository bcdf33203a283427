"""Micro-batching: requests that come while the model works are answered together by its next call.

A request that finds the model idle is asked at once and waits for nobody: batching costs no latency when there is
nothing to batch, and no request waits longer than for the call that is running and its own. No thread is needed
besides those of the requests: one of those that wait asks for all. When a joined call fails, each part is asked
alone, so that nobody pays for another one's rows. `maxLatency`, the time for which KServe's batcher holds a batch
open, is kept by never holding one open.

Source: KServe, batcher (maxBatchSize counts rows; answers carry batchId).
"""

import threading
import uuid
from collections import deque
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Arrays = dict[str, np.ndarray[Any, Any]]
    Call = Callable[[Arrays], Arrays]


class _Part:
    """One request: its arrays, all with the same number of rows, and later its answer."""

    __slots__ = ("answer", "arrays", "batch", "error", "leads", "rows", "wake")

    def __init__(self, arrays: "Arrays", rows: int) -> None:
        self.arrays, self.rows = arrays, rows
        self.wake = threading.Event()
        self.leads = False
        self.answer: Arrays | None = None
        self.error: BaseException | None = None
        self.batch = ""


class Batcher:
    """Joins calls of one model; calls of different keys are never joined. Safe to use from several threads."""

    def __init__(self, max_rows: int) -> None:
        self.max_rows = max_rows
        self._lock = threading.Lock()
        self._waiting: dict[Hashable, deque[_Part]] = {}
        self._last = threading.local()

    @property
    def batch_id(self) -> str:
        """The id of the batch that answered this thread's last request."""
        return getattr(self._last, "batch", "") or str(uuid.uuid4())

    def ask(self, key: Hashable, arrays: "Arrays", call: "Call") -> "Arrays":
        """Return what `call` says of these arrays, asked alone or together with others of the same key."""
        part = _Part(arrays, next(iter(arrays.values())).shape[0])
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None:
                self._waiting[key] = deque()
            else:
                waiting.append(part)
        if waiting is not None:
            part.wake.wait()
        if waiting is None or part.leads:
            self._lead(key, part, call)
        self._last.batch = part.batch
        if part.error is not None:
            raise part.error
        assert part.answer is not None
        return part.answer

    def _lead(self, key: Hashable, first: _Part, call: "Call") -> None:
        """Ask for this part and those that wait, then leave the lead to one that came meanwhile."""
        try:
            _ask([first, *self._others(key, self.max_rows - first.rows)], call)
        finally:
            with self._lock:
                waiting = self._waiting[key]
                follower = waiting.popleft() if waiting else None
                if follower is None:
                    del self._waiting[key]
            if follower is not None:
                follower.leads = True
                follower.wake.set()

    def _others(self, key: Hashable, room: int) -> list[_Part]:
        found = []
        with self._lock:
            waiting = self._waiting[key]
            while waiting and waiting[0].rows <= room:
                found.append(waiting.popleft())
                room -= found[-1].rows
        return found


def _ask(parts: list[_Part], call: "Call") -> None:
    batch = str(uuid.uuid4())
    try:
        if len(parts) == 1 or not _joined(parts, call):
            for part in parts:
                _alone(part, call)
    finally:
        for part in parts:
            part.batch = batch
        for part in parts[1:]:
            part.wake.set()


def _alone(part: _Part, call: "Call") -> None:
    try:
        part.answer = call(part.arrays)
    except BaseException as error:
        part.error = error


def _joined(parts: list[_Part], call: "Call") -> bool:
    """Ask for all at once; say whether that went well and the answer has one row for each."""
    import numpy as np

    total = sum(part.rows for part in parts)
    try:
        found = call({name: np.concatenate([part.arrays[name] for part in parts]) for name in parts[0].arrays})
    except Exception:
        return False
    if any(array.ndim == 0 or array.shape[0] != total for array in found.values()):
        return False
    at = 0
    for part in parts:
        part.answer = {name: array[at : at + part.rows] for name, array in found.items()}
        at += part.rows
    return True
