"""A span for each prediction, in the trace that its caller began, to whatever OpenTelemetry's variables name.

Guarantees: a request pays for putting a few values into a bounded queue; what does not fit, or cannot be sent, is
dropped. A thread makes the spans from them, after the answer and with its times; OpenTelemetry is imported there, so
that no start and no request waits for it. Whoever began the trace decides whether it is recorded; traces that begin
here are sampled as OTEL_TRACES_SAMPLER says (all, by default).

Sources: W3C Trace Context; OpenTelemetry, environment variables, and semantic conventions for HTTP server spans.
"""

import importlib
import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zeroflow.functions.predictor.settings import Identity

logger = logging.getLogger(__name__)

MAX_QUEUED = 2048
DRAIN_S = 5.0
CONTEXT = {"HTTP_TRACEPARENT": "traceparent", "HTTP_TRACESTATE": "tracestate"}


@dataclass(frozen=True)
class _Told:
    """One answered request; times in seconds since 1970."""

    name: str
    began: float
    ended: float
    context: Mapping[str, str]
    attributes: Mapping[str, Any]
    failed: bool


class Tracer:
    """Takes answered requests, and makes spans of them in a thread of its own."""

    def __init__(self, identity: Identity, version: str) -> None:
        self._identity, self._version = identity, version
        self._queue: queue.Queue[_Told | None] = queue.Queue(MAX_QUEUED)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._closed = False
        self.dropped = 0

    def answered(self, model: str, environ: Mapping[str, Any], seconds: float, request_id: str, status: int) -> None:
        """Take a request that was answered just now, after `seconds`; never waits."""
        ended = time.time()
        told = _Told(
            name=f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}",
            began=ended - seconds,
            ended=ended,
            context={name: environ[key] for key, name in CONTEXT.items() if key in environ},
            attributes={
                "http.request.method": environ["REQUEST_METHOD"],
                "url.path": environ["PATH_INFO"],
                "http.response.status_code": status,
                "zeroflow.model": model,
                "zeroflow.request_id": request_id,
            },
            failed=status >= 500,
        )
        try:
            self._queue.put_nowait(told)
        except queue.Full:
            self.dropped += 1
            return
        if self._thread is None:
            self._start()

    def close(self) -> None:
        """Send what waits, for a few seconds, and end."""
        with self._lock:
            self._closed = True
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=DRAIN_S)
            except queue.Full:
                return
            self._thread.join(DRAIN_S)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None and not self._closed:  # in this process: its parent's threads do not reach it
                self._thread = threading.Thread(target=self._run, name="tracer", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        try:
            spans = _Spans(self._identity, self._version)
        except ImportError as error:
            logger.warning("no spans are sent: %s; install zeroflow[tracing]", error)
            spans = None
        while (told := self._queue.get()) is not None:
            if spans is not None:
                spans.add(told)
        if spans is not None:
            spans.close()


class _Spans:
    """OpenTelemetry's SDK, as its own variables configure it."""

    def __init__(self, identity: Identity, version: str) -> None:
        sdk: Any = importlib.import_module("opentelemetry.sdk.trace")
        export: Any = importlib.import_module("opentelemetry.sdk.trace.export")
        resources: Any = importlib.import_module("opentelemetry.sdk.resources")
        otlp: Any = importlib.import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
        propagation: Any = importlib.import_module("opentelemetry.trace.propagation.tracecontext")
        self._trace: Any = importlib.import_module("opentelemetry.trace")
        whose = {
            "service.name": identity.inferenceservice,
            "service.namespace": identity.namespace,
            "service.version": identity.revision,
            "service.instance.id": identity.pod,
        }
        detected = resources.OTELResourceDetector().detect()  # OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES
        self._provider = sdk.TracerProvider(resource=resources.Resource.create(whose).merge(detected))
        self._provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("zeroflow.predictor", version)
        self._propagator = propagation.TraceContextTextMapPropagator()

    def add(self, told: _Told) -> None:
        """Make the span of a request."""
        trace = self._trace
        span = self._tracer.start_span(
            told.name,
            context=self._propagator.extract(dict(told.context)),
            kind=trace.SpanKind.SERVER,
            attributes=dict(told.attributes),
            start_time=int(told.began * 1e9),
        )
        if told.failed:
            span.set_status(trace.StatusCode.ERROR)
        span.end(int(told.ended * 1e9))

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
