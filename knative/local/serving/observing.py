"""What the activator sees of revisions that do not tell how they answer: requests, status codes and times.

Knative's queue-proxy counts the same for every revision; here it becomes the event that Zeroflow's own predictors send
(zeroflow.predictions.observation), so that a canary of a user's container is decided by the same test. Counted are POST
requests to revisions with the annotation `zeroflow.dev/observe: <InferenceService>`, from the moment when an instance
has the request to the head of its answer. One event for each revision in three
seconds, while there is traffic.

Left to others: what is in the answers; gRPC statuses, which come after the body.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.predictions import observation
from zeroflow.predictions.latency import Latency
from zeroflow.predictions.observation import CLIENT, MODEL, OVERLOAD, Observation

Object = Mapping[str, Any]
logger = logging.getLogger(__name__)

OBSERVE = "zeroflow.dev/observe"
EVERY_S = 3.0
POD = "activator"


class Observer:
    """Counts, and publishes. Used from the event loop alone."""

    def __init__(self) -> None:
        self._process, self._sequence = secrets.token_hex(4), 0
        self._windows: dict[tuple[str, str], _Window] = {}
        self._publish: Callable[[Mapping[str, Any]], Awaitable[Any]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._telling: set[asyncio.Task[None]] = set()

    def start(self, publish: Callable[[Mapping[str, Any]], Awaitable[Any]]) -> None:
        """Begin to count; `publish` takes an event in CloudEvents' JSON format."""
        self._publish = publish

    def answered(self, revision: Object, status: int, began: float) -> None:
        """Count one request; `began`: when an instance got it, by `time.perf_counter`."""
        metadata = revision["metadata"]
        service = (metadata.get("annotations") or {}).get(OBSERVE)
        if service is None or self._publish is None:
            return
        key = metadata["namespace"], metadata["name"]
        window = self._windows.get(key)
        if window is None:
            window = self._windows[key] = _Window(service)
        window.count(status, time.perf_counter() - began)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self._tell)

    async def close(self) -> None:
        """Publish what has been counted."""
        if self._timer is not None:
            self._timer.cancel()
        self._tell()
        await asyncio.gather(*self._telling)
        self._publish = None

    def _tell(self) -> None:
        windows, self._windows, self._timer = self._windows, {}, None
        for (namespace, revision), window in windows.items():
            self._sequence += 1
            seen = window.observation(namespace, revision, self._process, self._sequence)
            task = asyncio.get_running_loop().create_task(self._send(seen))
            self._telling.add(task)
            task.add_done_callback(self._telling.discard)

    async def _send(self, seen: Observation) -> None:
        assert self._publish is not None
        try:
            await self._publish(
                {
                    "specversion": "1.0",
                    "id": seen.event_id,
                    "type": observation.OBSERVED,
                    "source": seen.source,
                    "subject": seen.subject,
                    "datacontenttype": "application/json",
                    "data": seen.to_data(),
                }
            )
        except ZeroflowError as error:
            logger.warning("observation %s is lost: %s", seen.event_id, error)


class _Window:
    def __init__(self, inferenceservice: str) -> None:
        self._inferenceservice = inferenceservice
        self._start_ms = time.time_ns() // 1_000_000
        self._requests, self._latency = 0, Latency()
        self._errors: dict[str, int] = {}

    def count(self, status: int, seconds: float) -> None:
        self._requests += 1
        self._latency.add(seconds)
        if status >= 400:
            error = OVERLOAD if status in (429, 503) else CLIENT if status < 500 else MODEL
            self._errors[error] = self._errors.get(error, 0) + 1

    def observation(self, namespace: str, revision: str, process: str, sequence: int) -> Observation:
        return Observation(
            inferenceservice=self._inferenceservice,
            namespace=namespace,
            revision=revision,
            model=self._inferenceservice,
            pod=POD,
            process=process,
            sequence=sequence,
            start_ms=self._start_ms,
            end_ms=time.time_ns() // 1_000_000,
            requests=self._requests,
            errors=self._errors,
            latency=self._latency,
            callers={"": self._requests},
        )
