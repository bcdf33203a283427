"""How this process answers, counted here and told to the platform while there is traffic: every second while it is
young, as canaries are, later every 15.

Guarantees: counting costs a request about a microsecond and never waits for the network; every request is counted in
exactly one observation; an observation that could not be sent is sent again under the same id, the last ones at the
end of the process (zeroflow.predictions.observation has the event).
"""

import threading
import time
from dataclasses import dataclass, field

from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.settings import Identity
from zeroflow.functions.predictor.telling.beat import Beat
from zeroflow.functions.predictor.telling.sending import Sender
from zeroflow.functions.predictor.telling.teller import Teller
from zeroflow.predictions.latency import Latency, bucket
from zeroflow.predictions.observation import CLIENT, MODEL, OVERLOAD, SERVER, Observation

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
        self._teller = Teller(identity, sender, KEPT)
        self._windows: dict[int, _Window] = {}
        self._lock = threading.Lock()
        self._beat = Beat("observer", self._tell, EVERY_S, YOUNG_S, LATER_EVERY_S)

    def record(self, served: Served, seconds: float, status: int, failed_model: bool, caller: str) -> None:
        """Count one answered request."""
        if not self._teller.tells:
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
            self._teller.begin()
            self._beat.start()
        return window

    def close(self) -> None:
        """Send what has been counted and end."""
        self._beat.close()

    def _tell(self) -> None:
        with self._lock:
            windows, self._windows = self._windows, {}
        for window in windows.values():
            self._teller.put(self._observation(window))
        self._teller.send()

    def _observation(self, window: _Window) -> Observation:
        served = window.served
        return Observation(
            **self._teller.signature(),
            model=served.name,
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
