"""Who is told of an answered prediction: the platform's counts, the payload log, a trace. Called once for each."""

import random
import time
from collections.abc import Mapping
from typing import Any

from zeroflow import __version__
from zeroflow.functions.predictor.models.served import Served
from zeroflow.functions.predictor.settings import PredictorSettings
from zeroflow.functions.predictor.telling.observing import Observer
from zeroflow.functions.predictor.telling.payloads import PayloadLog
from zeroflow.functions.predictor.telling.recording import Recorder
from zeroflow.functions.predictor.telling.sending import Sender
from zeroflow.functions.predictor.telling.shadow import Shadow
from zeroflow.functions.predictor.telling.tracing import Tracer

ARRIVED = "zeroflow.arrived"
"""When a request had arrived in full: `time.perf_counter()`, set by the worker."""
CALLER = "HTTP_ZEROFLOW_CALLER"
"""Who asks, as the platform's front says after it has authenticated them; it drops what clients send."""
MAX_ID_CHARS = 128


class Witness:
    """Tells observer, log, recorder and tracer, and copies to a shadow."""

    def __init__(
        self,
        observer: Observer,
        log: PayloadLog | None,
        shadow: Shadow | None = None,
        recorder: Recorder | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self.observer, self.log, self.shadow, self.recorder = observer, log, shadow, recorder
        self.tracer = tracer

    @classmethod
    def of(cls, settings: PredictorSettings) -> "Witness":
        """Make what the settings ask for."""
        sender = Sender(settings.observed.sink, settings.observed.token) if settings.observed else None
        log = PayloadLog(settings.logger, settings.identity) if settings.logger else None
        observer, told = Observer(settings.identity, sender), settings.observed
        shadow = None
        if told is not None and told.shadow is not None and told.token is not None:
            shadow = Shadow(told.shadow, told.token, settings.identity.revision, observer.compared, told.reference)
        recorder = None
        if sender is not None and told is not None and told.predictions:
            recorder = Recorder(settings.identity, Sender(told.sink, told.token))
        tracer = Tracer(settings.identity, __version__) if settings.traced else None
        return cls(observer, log, shadow, recorder, tracer)

    def answered(
        self,
        served: Served,
        environ: Mapping[str, Any],
        began: float,
        request_id: str,
        status: int,
        request: bytes,
        answer: bytes,
        failed_model: bool = False,
    ) -> None:
        """Tell of one answer; `began`: the moment from which its time counts, if the worker has set none."""
        if self.shadow is not None:
            if self.shadow.is_copy(environ):
                return
            if status == 200:
                self.shadow.copy(served, environ, request, answer)
        seconds = time.perf_counter() - environ.get(ARRIVED, began)
        self.observer.record(served, seconds, status, failed_model, environ.get(CALLER, ""))
        if self.recorder is not None and status == 200:
            self.recorder.add(request_id, answer)
        if self.tracer is not None:
            self.tracer.answered(served.name, environ, seconds, request_id, status)
        if self.log is not None:
            self.log.add(request_id, environ, time.time() - seconds, request, status, answer)

    def close(self) -> None:
        """Send what waits; called once, when the process ends."""
        self.observer.close()
        if self.recorder is not None:
            self.recorder.close()
        if self.log is not None:
            self.log.close()
        if self.tracer is not None:
            self.tracer.close()


def request_id(environ: Mapping[str, Any]) -> str:
    """Return the request's id: its event's, its own header's, or a new one."""
    given = environ.get("HTTP_CE_ID") or environ.get("HTTP_X_REQUEST_ID")
    if given and len(given) <= MAX_ID_CHARS and given.isascii() and given.isprintable():
        return str(given)
    return f"{random.getrandbits(128):032x}"  # a name, no secret; forked workers have seeds of their own
