"""The log subresource of Pods: the file that a container writes, whole, its tail, or followed until the pod ends.

Guarantees: a followed log is complete up to the moment at which the container had ended. Lines carry no times of
their own, so `timestamps` and `previous` are refused rather than made up. Source: core/v1 PodLogOptions.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from aiohttp import web

from zeroflow.knative.local.api import times
from zeroflow.knative.local.api.errors import BadRequest, NotFound
from zeroflow.knative.local.api.objects import Object, meta
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.store import Store

CHUNK_BYTES: Final = 64 * 1024
KATIB_COLLECTOR: Final = "metrics-logger-and-collector"
KATIB_TRIAL: Final = "katib.kubeflow.org/trial"
LOOK_EVERY_S: Final = 0.2  # while a client follows; nothing looks otherwise


class LogFiles(Protocol):
    """Where containers write their output (the host's Home)."""

    def pod_log(self, namespace: str, pod: str, container: str) -> Path: ...


async def log(store: Store, files: LogFiles, request: web.Request, target: Target) -> web.StreamResponse:
    """Stream the log of one container of a pod."""
    pod = store.find(target.kind, target.namespace, target.name or "")
    if pod is None:
        raise NotFound.named("pods", target.name or "")
    container = container_of(pod, request.query.get("container"))
    follow = parameters.flag(request, "follow")
    tail, limit = parameters.number(request, "tailLines"), parameters.number(request, "limitBytes")
    if parameters.flag(request, "timestamps"):
        raise BadRequest("timestamps: the lines of this host's logs carry no times of their own")
    if parameters.flag(request, "previous"):
        raise BadRequest(f'previous terminated container "{container}" in pod "{target.name}" not found')
    path = files.pod_log(target.namespace or "", target.name or "", container)
    if not path.exists() and (pod.get("status") or {}).get("phase", "Pending") == "Pending":
        raise BadRequest(f'container "{container}" in pod "{target.name}" is waiting to start: ContainerCreating')
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    if _is_older(path, request):
        tail = 0
    left = limit if limit is not None else -1
    try:
        position = _tail_position(path, tail)
        if not follow:
            await _copy(response, path, position, left)
        else:
            await _follow(store, response, request, target, container, path, position, left)
    except ConnectionResetError:
        pass  # the client left
    return response


async def _follow(
    store: Store,
    response: web.StreamResponse,
    request: web.Request,
    target: Target,
    container: str,
    path: Path,
    position: int,
    left: int,
) -> None:
    while left != 0 and request.transport is not None:
        pod = store.find(target.kind, target.namespace, target.name or "")
        ended = pod is None or _has_ended(pod, container)  # asked before reading: what is read after is complete
        before = position = _restarted(path, position)
        position, left = await _copy(response, path, position, left)
        if position != before:
            continue
        if ended:
            return
        await asyncio.sleep(LOOK_EVERY_S)


async def _copy(response: web.StreamResponse, path: Path, position: int, left: int) -> tuple[int, int]:
    """Send what the file holds from a position on, at most `left` bytes (-1: all); return both after it."""
    for chunk in _chunks(path, position):
        part = chunk if left < 0 else chunk[:left]
        await response.write(part)
        position += len(part)
        if left >= 0:
            left -= len(part)
            if left == 0:
                break
    return position, left


def _chunks(path: Path, position: int) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(position)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except FileNotFoundError:
        return


def _restarted(path: Path, position: int) -> int:
    """Return where to go on: at the beginning when the log was moved aside meanwhile."""
    try:
        return position if path.stat().st_size >= position else 0
    except FileNotFoundError:
        return position


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


def _is_older(path: Path, request: web.Request) -> bool:
    """Say whether nothing was written since sinceSeconds or sinceTime: only the file as a whole has a time."""
    if not path.exists():
        return False
    written = path.stat().st_mtime
    if (seconds := parameters.number(request, "sinceSeconds")) is not None:
        import time

        return written < time.time() - seconds
    if text := request.query.get("sinceTime"):
        since = times.parsed(text)
        if since is None:
            raise BadRequest(f"sinceTime: expected an RFC 3339 time, found {text!r}")
        return written < since.timestamp()
    return False
