"""How this process answers, counted here and told to the platform while there is traffic: every second while it is
young, as canaries are, later every 15.

Guarantees: counting costs a request about a microsecond and never waits for the network; every request is counted in
exactly one observation; an observation that could not be sent is sent again under the same id, the last ones at the
end of the process (zeroflow.predictions.observation has the event).
"""

import logging
import secrets
import threading
import time
from collections import deque
from dataclasses import dataclass, field

import orjson

from zeroflow.functions.predictor.sending import Sender, rfc3339
from zeroflow.functions.predictor.served import Served
from zeroflow.functions.predictor.settings import Identity
from zeroflow.predictions.latency import Latency, bucket
from zeroflow.predictions.observation import CLIENT, MODEL, OBSERVED, OVERLOAD, SERVER, Observation

logger = logging.getLogger(__name__)

EVERY_S, LATER_EVERY_S, YOUNG_S = 1.0, 15.0, 600.0
KEPT = 256
"""Observations that wait for a broker that does not answer; older ones are lost, and the log says so."""
MAX_CALLERS = 1000
OTHERS = "(others)"


@dataclass
class _Window:
    served: Served
    start_ms: int
    requests: int = 0
    errors: dict[str, int] = field(default_factory=dict)
    latency: dict[int, int] = field(default_factory=dict)
    callers: dict[str, int] = field(default_factory=dict)
    shadow: dict[str, dict[str, int]] = field(default_factory=dict)


class Observer:
    """Counts; `sender` None counts nothing."""

    def __init__(self, identity: Identity, sender: Sender | None) -> None:
        self._identity, self._sender = identity, sender
        self._process, self._sequence = "", 0
        self._windows: dict[int, _Window] = {}
        self._unsent: deque[Observation] = deque(maxlen=KEPT)
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, served: Served, seconds: float, status: int, failed_model: bool, caller: str) -> None:
        """Count one answered request."""
        if self._sender is None:
            return
        number = bucket(seconds)
        with self._lock:
            window = self._window(served)
            window.requests += 1
            window.latency[number] = window.latency.get(number, 0) + 1
            if caller not in window.callers and len(window.callers) >= MAX_CALLERS:
                caller = OTHERS
            window.callers[caller] = window.callers.get(caller, 0) + 1
            if status >= 400:
                error = _class_of(status, failed_model)
                window.errors[error] = window.errors.get(error, 0) + 1

    def compared(self, served: Served, revision: str, result: str) -> None:
        """Count what became of one copy to a canary (shadow.py)."""
        with self._lock:
            of_revision = self._window(served).shadow.setdefault(revision, {})
            of_revision[result] = of_revision.get(result, 0) + 1

    def _window(self, served: Served) -> _Window:
        window = self._windows.get(id(served))
        if window is None:
            window = self._windows[id(served)] = _Window(served, time.time_ns() // 1_000_000)
            if self._thread is None and not self._closing.is_set():
                self._process = secrets.token_hex(4)  # now, since workers may have been forked from one parent
                self._thread = threading.Thread(target=self._run, name="observer", daemon=True)
                self._thread.start()
        return window

    def close(self) -> None:
        """Send what has been counted and end."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(10.0)
        self._tell()

    def _run(self) -> None:
        young_until = time.monotonic() + YOUNG_S
        while not self._closing.wait(EVERY_S if time.monotonic() < young_until else LATER_EVERY_S):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            windows, self._windows = self._windows, {}
        for window in windows.values():
            if len(self._unsent) == KEPT:
                logger.error("observation %s is lost: the broker has not answered", self._unsent[0].event_id)
            self._unsent.append(self._observation(window))
        while self._unsent and self._sender is not None:
            if not self._sender.post(*_event(self._unsent[0])):
                return
            self._unsent.popleft()

    def _observation(self, window: _Window) -> Observation:
        self._sequence += 1
        served, own = window.served, self._identity
        return Observation(
            inferenceservice=own.inferenceservice,
            namespace=own.namespace,
            revision=own.revision,
            model=served.name,
            pod=own.pod,
            process=self._process,
            sequence=self._sequence,
            start_ms=window.start_ms,
            end_ms=time.time_ns() // 1_000_000,
            requests=window.requests,
            errors=window.errors,
            latency=Latency(window.latency),
            callers=window.callers,
            model_version=served.version,
            uri=served.uri,
            sha256=served.model.sha256,
            shadow=window.shadow,
        )


def _class_of(status: int, failed_model: bool) -> str:
    if status in (429, 503):
        return OVERLOAD
    if status < 500:
        return CLIENT
    return MODEL if failed_model else SERVER


def _event(seen: Observation) -> tuple[dict[str, str], str, bytes]:
    attributes = {
        "specversion": "1.0",
        "id": seen.event_id,
        "type": OBSERVED,
        "source": seen.source,
        "subject": seen.subject,
        "time": rfc3339(seen.end_ms / 1000),
    }
    return attributes, "application/json", orjson.dumps(seen.to_data())
