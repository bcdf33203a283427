"""The log subresource of Pods: the file that a container writes, whole, its tail, or followed until the pod ends.

Guarantees: a followed log is complete up to the moment at which the container had ended. The times of lines are those
at which the host saw them written (log_times). Source: core/v1 PodLogOptions, the kubelet's validation of it.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from aiohttp import web

from zeroflow.knative.local.api import times
from zeroflow.knative.local.api.errors import BadRequest, Cause, Invalid, NotFound
from zeroflow.knative.local.api.objects import Object, meta
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.log_times import Stamps, WrittenTimes
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.store import Store

CHUNK_BYTES: Final = 64 * 1024
KATIB_COLLECTOR: Final = "metrics-logger-and-collector"
KATIB_TRIAL: Final = "katib.kubeflow.org/trial"
LOOK_EVERY_S: Final = 0.2  # while a client follows; nothing looks otherwise


class LogFiles(Protocol):
    """Where containers write their output (the host's Home)."""

    def pod_log(self, namespace: str, pod: str, container: str) -> Path: ...


@dataclass(frozen=True, slots=True)
class LogOptions:
    """What of a log, and how: core/v1 PodLogOptions."""

    container: str | None
    follow: bool
    previous: bool
    timestamps: bool
    since_ns: int | None
    tail: int | None
    limit_bytes: int | None

    @classmethod
    def of(cls, request: web.Request, pod: str) -> LogOptions:
        """Read and check the query; raise Invalid or BadRequest."""
        query = request.query
        faults = []
        numbers: dict[str, int | None] = {}
        for name, least in (("limitBytes", 1), ("sinceSeconds", 1), ("tailLines", 0)):
            text = query.get(name) or None
            if text is not None and not re.fullmatch(r"-?[0-9]{1,18}", text):
                raise BadRequest(f"parameter {name}: expected a whole number, found {text!r}")
            number = numbers[name] = None if text is None else int(text)
            if number is not None and number < least:
                bound = "greater than 0" if least else "greater than or equal to 0"
                faults.append(Cause(name, f"Invalid value: {number}: must be {bound}"))
        since = times.parsed(query["sinceTime"]) if query.get("sinceTime") else None
        if query.get("sinceTime") and since is None:
            raise BadRequest(f"sinceTime: expected an RFC 3339 time, found {query['sinceTime']!r}")
        if since is not None and numbers["sinceSeconds"] is not None:
            faults.append(Cause("", "Forbidden: at most one of `sinceTime` or `sinceSeconds` may be specified"))
        if faults:
            raise Invalid.fields("PodLogOptions", "", pod, *faults)
        since_ns = int(since.timestamp() * 1e9) if since is not None else None
        if (seconds := numbers["sinceSeconds"]) is not None:
            since_ns = time.time_ns() - seconds * 1_000_000_000
        return cls(
            container=query.get("container"),
            follow=parameters.flag(request, "follow"),
            previous=parameters.flag(request, "previous"),
            timestamps=parameters.flag(request, "timestamps"),
            since_ns=since_ns,
            tail=numbers["tailLines"],
            limit_bytes=numbers["limitBytes"],
        )


async def log(store: Store, files: LogFiles, request: web.Request, target: Target) -> web.StreamResponse:
    """Stream the log of one container of a pod."""
    pod = store.find(target.kind, target.namespace, target.name or "")
    if pod is None:
        raise NotFound.named("pods", target.name or "")
    options = LogOptions.of(request, target.name or "")
    container = container_of(pod, options.container)
    if options.previous:  # a process that is started again is another Pod here
        raise BadRequest(f'previous terminated container "{container}" in pod "{target.name}" not found')
    path = files.pod_log(target.namespace or "", target.name or "", container)
    if not path.exists() and (pod.get("status") or {}).get("phase", "Pending") == "Pending":
        raise BadRequest(f'container "{container}" in pod "{target.name}" is waiting to start: ContainerCreating')
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    reading = _Reading(response, path, options)
    try:
        await reading.copy()
        while options.follow and not reading.full and request.transport is not None:
            pod = store.find(target.kind, target.namespace, target.name or "")
            ended = pod is None or _has_ended(pod, container)  # asked before reading: what is read after is complete
            if not await reading.copy():
                if ended:
                    break
                await asyncio.sleep(LOOK_EVERY_S)
    except ConnectionResetError:
        pass  # the client left
    return response


class _Reading:
    """Sends a log from where the options say it begins, and later what has come since."""

    def __init__(self, response: web.StreamResponse, path: Path, options: LogOptions) -> None:
        self._response, self._path = response, path
        self._left = options.limit_bytes
        self._position = _tail_position(path, options.tail)
        if options.since_ns is not None and path.exists():
            self._position = max(self._position, WrittenTimes(path).since(options.since_ns))
        self._stamps = Stamps(path) if options.timestamps else None

    @property
    def full(self) -> bool:
        """Whether as many bytes were sent as were asked for."""
        return self._left == 0

    async def copy(self) -> bool:
        """Send what the file holds and was not sent; return whether there was anything."""
        before = self._position
        if self._moved_aside():
            before = self._position = 0
            self._stamps = Stamps(self._path) if self._stamps else None
        for chunk in _chunks(self._path, self._position):
            part = self._stamps.stamped(chunk, self._position) if self._stamps else chunk
            self._position += len(chunk)
            if self._left is not None:
                part = part[: self._left]
                self._left -= len(part)
            await self._response.write(part)
            if self.full:
                break
        return self._position != before

    def _moved_aside(self) -> bool:
        try:
            return self._path.stat().st_size < self._position
        except FileNotFoundError:
            return False


def _chunks(path: Path, position: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(position)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        return


def _tail_position(path: Path, lines: int | None) -> int:
    """Return where the last lines of a file begin."""
    if lines is None:
        return 0
    try:
        with path.open("rb") as file:
            return _before_lines(file, lines)
    except FileNotFoundError:
        return 0


def _before_lines(file: BinaryIO, lines: int) -> int:
    end = position = file.seek(0, os.SEEK_END)
    if lines == 0:
        return end
    wanted = lines
    while position > 0:
        start = max(0, position - CHUNK_BYTES)
        file.seek(start)
        block = file.read(position - start)
        if position == end and block.endswith(b"\n"):
            wanted += 1  # the newline that ends the last line
        place = len(block)
        while wanted and (place := block.rfind(b"\n", 0, place)) >= 0:
            wanted -= 1
            if not wanted:
                return start + place + 1
        position = start
    return 0


def container_of(pod: Object, asked: str | None) -> str:
    """Return the container that is asked for, or the one that a pod has; raise BadRequest."""
    spec = pod.get("spec") or {}
    names = [
        str(container.get("name")) for field in ("containers", "initContainers") for container in spec.get(field) or ()
    ]
    pod_name = meta(pod)["name"]
    if asked == KATIB_COLLECTOR and KATIB_TRIAL in (meta(pod).get("labels") or {}) and asked not in names:
        asked = None  # Katib's sidecar prints what the trial prints; here the trial is read itself
    if asked:
        if asked not in names:
            raise BadRequest(f"container {asked} is not valid for pod {pod_name}")
        return asked
    main = [str(container.get("name")) for container in spec.get("containers") or ()]
    preferred = (meta(pod).get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if preferred in names:
        return str(preferred)
    if len(main) != 1:
        raise BadRequest(f"a container name must be specified for pod {pod_name}, choose one of: [{' '.join(main)}]")
    return main[0]


def _has_ended(pod: Object, container: str) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return True
    for each in (*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())):
        if each.get("name") == container:
            return "terminated" in (each.get("state") or {})
    return False
