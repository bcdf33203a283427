"""One instance of a revision: its process, its connections, its Pod object.

`start` returns once the instance is ready for requests; how it failed is an exception with a reason that a Revision's
condition can carry. `stop` lets nothing be lost: the pool calls it when the last request is over.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.api.objects import generated_name
from zeroflow.knative.local.processes import volumes
from zeroflow.knative.local.processes.container import resolve
from zeroflow.knative.local.processes.launcher import listening_socket
from zeroflow.knative.local.processes.logs import tail
from zeroflow.knative.local.processes.pods import PodContext, PodRecord, shell_code
from zeroflow.knative.local.processes.process import Process, ProcessSpec
from zeroflow.knative.local.processes.runtimes import ANNOTATION
from zeroflow.knative.local.processes.server_link import inherited_environment
from zeroflow.knative.local.serving import labels, probes
from zeroflow.knative.local.serving.exchange import Upstream
from zeroflow.knative.local.serving.upstream_http1 import IDLE_S, IDLE_UNKNOWN_S, Connections

Object = dict[str, Any]
logger = logging.getLogger(__name__)

KILL_AFTER_S = 2.0  # on top of the grace period: gunicorn itself uses all of it


class ContainerFailed(ZeroflowError):
    """The container ended before it was ready; `reason` is ExitCode<n>, as Knative says it."""

    def __init__(self, code: int, tail: str) -> None:
        super().__init__(f"Container failed with: {tail or f'exit code {shell_code(code)} and an empty log'}")
        self.reason = f"ExitCode{shell_code(code)}"


class Pod:
    """One process of a revision."""

    def __init__(self, context: PodContext, revision: Object) -> None:
        self._context = context
        self._container: Object = revision["spec"]["containers"][0]
        self._grace_s = float(revision["spec"].get("timeoutSeconds", 300))
        self._process: Process | None = None
        self._connections: Upstream | None = None
        self._liveness: asyncio.Task[None] | None = None
        self.in_flight = 0
        self.ready = self.draining = False
        self.answered = False  # it has given an answer: if it dies, it did not die of its start
        pod = _pod_object(revision, self._container)
        self.name: str = pod["metadata"]["name"]
        namespace, container = pod["metadata"]["namespace"], self._container["name"]
        self.log = context.home.pod_log(namespace, self.name, container)
        self.record = PodRecord(context, pod, container, str(self._container.get("image", "")))
        self._scratch = context.home.run / "pods" / self.name

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.exit_code is None else None

    @property
    def connections(self) -> Upstream:
        """The connections to the process; only after it was started."""
        assert self._connections is not None
        return self._connections

    async def start(self, deadline_s: float) -> None:
        """Start the process and return when it is ready; a ZeroflowError says why it is not."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._start()
        except TimeoutError as error:
            self.kill()
            raise NotReady(
                f"the container was not ready within {deadline_s:g} s: it must listen on the port that PORT names, "
                "and pass its probes"
            ) from error
        except ZeroflowError as error:
            if self._process is None:
                self.record.waiting(error.reason, str(error))
            raise
        self.ready = True
        self.record.running(ready=True)
        if liveness := self._container.get("livenessProbe"):
            self._liveness = asyncio.get_running_loop().create_task(self._watch(liveness))

    async def _start(self) -> None:
        pod, container, find = self.record.object, self._container, self._context.find
        mounts = volumes.mount(self._context, pod, container, self._scratch)
        listener = listening_socket()
        port = listener.getsockname()[1]
        try:
            resolved = resolve(pod, container, self._environment(port), find, self._context.images)
            inherited: socket.socket | None = listener
            if resolved.runtime is None:
                listener.close()  # the command listens for itself
                inherited = None
            spec = ProcessSpec(
                name=self.name,
                argv=resolved.argv,
                env=resolved.env,
                log=self.log,
                cwd=resolved.cwd,
                runtime=resolved.runtime,
                listener=inherited,
                memory_bytes=resolved.memory_bytes,
                mounts=mounts,
                grace_s=self._grace_s,
            )
            self._process = process = await self._context.launcher.start(spec)
        finally:
            listener.close()
        self.record.running(ready=False)
        if _speaks_http2(container):
            from zeroflow.knative.local.serving.upstream_http2 import Http2Connections

            self._connections = Http2Connections(port)
        else:
            self._connections = Connections(port, IDLE_UNKNOWN_S if inherited is None else IDLE_S)
        if inherited is not None and not await process.serving():
            raise ContainerFailed(await process.wait(), tail(self.log))
        await self._until_ready(process, listening=inherited is not None)

    async def _until_ready(self, process: Process, *, listening: bool) -> None:
        readiness = self._container.get("readinessProbe") or {}
        wanted = [probe for probe in (self._container.get("startupProbe"), readiness) if probe is not None]
        if listening:  # a connection proves nothing: the socket is the host's own; gunicorn has said that it serves
            wanted = [probe for probe in wanted if "httpGet" in probe]
        for probe in wanted:
            probing = asyncio.ensure_future(probes.until_passed(probe, self.connections))
            ending = asyncio.ensure_future(process.wait())
            try:
                await asyncio.wait((probing, ending), return_when=asyncio.FIRST_COMPLETED)
                if ending.done():
                    raise ContainerFailed(ending.result(), tail(self.log))
            finally:
                probing.cancel()
                ending.cancel()

    async def gone(self, timeout_s: float) -> bool:
        """Return whether the process has ended, or ends within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            return False
        return True

    async def wait(self) -> int:
        """Return the exit code when the process ends; only after it was started."""
        assert self._process is not None
        return await self._process.wait()

    async def stop(self, grace_s: float | None = None) -> None:
        """End the process: SIGTERM, and SIGKILL after the grace period."""
        self.ready = False
        self._close_connections()
        process = self._process
        if process is not None and process.exit_code is None:
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_AFTER_S + (self._grace_s if grace_s is None else grace_s)):
                    await process.wait()
            process.kill()
            await process.wait()
        volumes.unmount(self._scratch)

    def kill(self) -> None:
        """End the process now."""
        self.ready = False
        if self._process is not None:
            self._process.kill()

    def died(self, code: int) -> None:
        """Note that the process has ended by itself."""
        self.ready = False
        self.record.ended(code)
        self._close_connections()
        volumes.unmount(self._scratch)

    def _close_connections(self) -> None:
        if self._connections is not None:
            self._connections.close()
        if self._liveness is not None:
            self._liveness.cancel()

    async def _watch(self, liveness: Object) -> None:
        await probes.until_failed(liveness, self.connections)
        logger.warning("pod %s: liveness probe failed; it is killed and replaced", self.name)
        self.record.note("Unhealthy", "Liveness probe failed; the container is killed and replaced", warning=True)
        self.kill()

    def _environment(self, port: int) -> Mapping[str, str]:
        marks = self.record.object["metadata"]["labels"]
        return inherited_environment() | {
            "PORT": str(port),
            "HOSTNAME": self.name,
            "K_SERVICE": marks.get(labels.SERVICE, ""),
            "K_CONFIGURATION": marks[labels.CONFIGURATION],
            "K_REVISION": marks[labels.REVISION],
        }


def _speaks_http2(container: Object) -> bool:
    """Return whether the container's port is named h2c."""
    return any(port.get("name") == "h2c" for port in container.get("ports") or ())


class NotReady(Unavailable):
    """The container runs but does not pass its readiness probe in time."""

    reason = "ProgressDeadlineExceeded"


def _pod_object(revision: Object, container: Object) -> Object:
    meta = revision["metadata"]
    given = meta.get("labels") or {}
    marks = {
        "app": meta["name"],
        labels.REVISION: meta["name"],
        labels.REVISION_UID: meta.get("uid", ""),
        **{key: given[key] for key in (labels.SERVICE, labels.CONFIGURATION) if key in given},
    }
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key == ANNOTATION}
    spec = revision["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": generated_name(f"{meta['name']}-deployment-"),
            "namespace": meta["namespace"],
            "labels": given | marks,
            "annotations": annotations,
            "ownerReferences": [
                {
                    "apiVersion": labels.API_VERSION,
                    "kind": "Revision",
                    "name": meta["name"],
                    "uid": meta.get("uid", ""),
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "containers": [container],
            "volumes": spec.get("volumes") or [],
            "nodeName": "localhost",
            "serviceAccountName": spec.get("serviceAccountName", "default"),
            "terminationGracePeriodSeconds": spec.get("timeoutSeconds", 300),
        },
    }
