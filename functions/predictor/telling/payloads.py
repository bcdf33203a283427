"""The payload log: requests and answers as KServe's logger sends them, to any receiver of CloudEvents.

Guarantees: a request never waits for the log. Its bytes are put into a bounded queue; when that is full they are
dropped, and the drops are counted in /metrics and in the log. A receiver that does not answer changes no answer. At
the end of the process what is queued is sent, for a few seconds.

Source: KServe, agent logger (types org.kubeflow.serving.inference.request and .response, binary mode, attributes);
responses are logged when their status is 200.
"""

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from zeroflow.functions.predictor.settings import Identity, LoggerSettings
from zeroflow.functions.predictor.telling.sending import Sender, rfc3339
from zeroflow.predictions.observation import source_prefix

logger = logging.getLogger(__name__)

REQUEST_TYPE = "org.kubeflow.serving.inference.request"
RESPONSE_TYPE = "org.kubeflow.serving.inference.response"
MAX_QUEUED = 1000
MAX_QUEUED_BYTES = 64 << 20
DRAIN_S = 5.0
WARN_EVERY_S = 10.0


@dataclass(frozen=True)
class Payload:
    """One event that is yet to be written."""

    type: str
    id: str
    seconds: float
    content_type: str
    data: bytes
    headers: Mapping[str, list[str]]
    traceparent: str | None


class PayloadLog:
    """Takes payloads from requests, and sends them from a thread of its own."""

    def __init__(self, settings: LoggerSettings, identity: Identity) -> None:
        self._settings, self._identity = settings, identity
        self._sender = Sender(settings.url)
        self._queue: queue.SimpleQueue[Payload | None] = queue.SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._warned = 0.0
        self._until = float("inf")
        self.dropped = self.failed = self.sent = 0

    def add(
        self,
        request_id: str,
        environ: Mapping[str, Any],
        arrived: float,
        request: bytes,
        status: int,
        answer: bytes,
    ) -> None:
        """Queue the events of one request; `arrived` is its wall-clock time in seconds."""
        mode = self._settings.mode
        content_type = environ.get("CONTENT_TYPE") or "application/json"
        headers = {
            name: [environ[key]]
            for name in self._settings.headers
            if (key := f"HTTP_{name.upper().replace('-', '_')}") in environ
        }
        common = (content_type, headers, environ.get("HTTP_TRACEPARENT"))
        if mode != "response":
            self._put(REQUEST_TYPE, request_id, arrived, request, *common)
        if mode != "request" and status == 200:
            self._put(RESPONSE_TYPE, request_id, time.time(), answer, *common)

    def close(self) -> None:
        """Send what is queued, for a few seconds, and end."""
        if self._thread is not None:
            self._until = time.monotonic() + DRAIN_S
            self._queue.put(None)
            self._thread.join(DRAIN_S + 1.0)

    def _put(
        self, event_type: str, request_id: str, seconds: float, data: bytes, content_type: str, headers: Any, trace: Any
    ) -> None:
        with self._lock:
            if self._queue.qsize() >= MAX_QUEUED or self._bytes + len(data) > MAX_QUEUED_BYTES:
                self.dropped += 1
                self._warn()
                return
            self._bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="payloads", daemon=True)
                self._thread.start()
        self._queue.put(Payload(event_type, request_id, seconds, content_type, data, headers, trace))

    def _warn(self) -> None:
        now = time.monotonic()
        if now - self._warned > WARN_EVERY_S:
            self._warned = now
            logger.warning("payload events dropped so far: %d; %s is too slow", self.dropped, self._settings.url)

    def _run(self) -> None:
        while (payload := self._queue.get()) is not None:
            if time.monotonic() > self._until:
                self.dropped += 1
                continue
            accepted = self._sender.post(self._attributes(payload), payload.content_type, payload.data)
            with self._lock:
                self._bytes -= len(payload.data)
            if accepted:
                self.sent += 1
            else:
                self.failed += 1

    def _attributes(self, payload: Payload) -> dict[str, str]:
        own, settings = self._identity, self._settings
        attributes = {
            "specversion": "1.0",
            "id": payload.id,
            "type": payload.type,
            "source": settings.source or f"{source_prefix(own.namespace, own.inferenceservice)}{own.pod}",
            "time": rfc3339(payload.seconds),
            "recordedtime": rfc3339(time.time()),
            "inferenceservicename": own.inferenceservice,
            "namespace": own.namespace,
            "component": own.component,
            "endpoint": settings.endpoint,
            "metadata": orjson.dumps(payload.headers).decode(),
            "revision": own.revision,
        }
        if settings.annotations:
            attributes["annotations"] = orjson.dumps(settings.annotations).decode()
        if payload.traceparent:
            attributes["traceparent"] = payload.traceparent
        return attributes
