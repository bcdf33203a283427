"""One instance of a revision: its processes, its connections, its Pod object.

`start` returns once the instance is ready for requests; how it failed is an exception with a reason that a Revision's
condition can carry. `stop` lets nothing be lost: the pool calls it when the last request is over.

The process is to listen at the port that PORT names, one of the host's choosing: instances share one machine. A
program that listens at its declared containerPort instead is found there, as long as the port is its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from zeroflow.errors import Unavailable, ZeroflowError
from zeroflow.knative.local.processes import ports, volumes
from zeroflow.knative.local.processes.companions import CompanionFailed, Companions, execute, process_spec, scratch
from zeroflow.knative.local.processes.launcher import listening_socket
from zeroflow.knative.local.processes.logs import tail
from zeroflow.knative.local.processes.pods import PodContext, PodRecord, shell_code
from zeroflow.knative.local.processes.process import Process, ProcessSpec, killed_from_outside
from zeroflow.knative.local.processes.server_link import inherited_environment
from zeroflow.knative.local.serving import labels, probes
from zeroflow.knative.local.serving.exchange import Upstream
from zeroflow.knative.local.serving.pod_object import pod_object, port_of, serving_container
from zeroflow.knative.local.serving.probes import Prober
from zeroflow.knative.local.serving.upstream_http1 import IDLE_S, IDLE_UNKNOWN_S, Connections

Object = dict[str, Any]
logger = logging.getLogger(__name__)

KILL_AFTER_S = 2.0  # on top of the grace period: gunicorn itself uses all of it
LOOK_FOR_PORT_S = 0.5
_NOT_HERE = ("no module named", "no such file or directory", "can't open file")
_PORT_TAKEN = ("address already in use", "eaddrinuse")


class ContainerFailed(ZeroflowError):
    """The container ended before it was ready; `reason` is ExitCode<n>, as Knative says it."""

    def __init__(self, code: int, tail: str, advice: str = "") -> None:
        said = tail or f"exit code {shell_code(code)} and an empty log"
        super().__init__(f"Container failed with: {said}{advice}")
        self.reason = f"ExitCode{shell_code(code)}"


class NotReady(Unavailable):
    """The container runs but does not pass its probes in time."""

    reason = "ProgressDeadlineExceeded"


class Pod:
    """One instance of a revision. `changed` is called when it has become ready again, or is so no longer."""

    def __init__(self, context: PodContext, revision: Object, changed: Callable[[], None]) -> None:
        self._context, self._changed = context, changed
        self._container: Object = serving_container(revision["spec"]["containers"])
        self._port = port_of(self._container)
        self._also_http2 = (revision["metadata"].get("annotations") or {}).get(labels.HTTP2) == "also"
        self._grace_s = float(revision["spec"].get("timeoutSeconds", 300))
        self._process: Process | None = None
        self._prober: Prober | None = None
        self._clock: asyncio.Timeout | None = None
        self._watches: list[asyncio.Task[None]] = []
        self.in_flight = 0
        self.ready = self.draining = False
        self._at_fault = False  # it was this class that killed it, for what it did
        self.answered = False  # it has given an answer: if it dies, it did not die of its start
        pod = pod_object(revision)
        self.name: str = pod["metadata"]["name"]
        namespace, container = pod["metadata"]["namespace"], self._container["name"]
        self.log = context.home.pod_log(namespace, self.name, container)
        self.record = PodRecord(context, pod, container, str(self._container.get("image", "")))
        base = inherited_environment() | self._marks()
        self._companions = Companions(context, self.record, container, base, as_user=True)

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process is not None and self._process.exit_code is None else None

    @property
    def connections(self) -> Upstream:
        """The connections to the process; only after it was started."""
        assert self._prober is not None
        return self._prober.upstream

    async def start(self, deadline_s: float) -> None:
        """Start the processes and return when the instance is ready; a ZeroflowError says why it is not."""
        try:
            async with asyncio.timeout(deadline_s) as self._clock:
                await self._start()
        except TimeoutError as error:
            why = self._why_not()
            self.kill()
            raise NotReady(f"the container was not ready within {deadline_s:g} s: {why}") from error
        except ZeroflowError as error:
            if self._process is None:
                self.record.waiting(error.reason, str(error))
            raise
        finally:
            self._clock = None
        self.ready = True
        self.record.running(ready=True)
        for probe, watch in (("livenessProbe", self._watch_life), ("readinessProbe", self._watch_readiness)):
            if declared := self._container.get(probe):
                self._watches.append(asyncio.get_running_loop().create_task(watch(declared)))

    async def _start(self) -> None:
        listener = listening_socket()
        port = listener.getsockname()[1]
        try:
            spec = process_spec(self._context, self.record, self._container, self._environment(port), as_user=True)
            await self._companions.start()
            if spec.runtime is None:
                listener.close()  # the command listens for itself
            else:
                spec = replace(spec, listener=listener)
            spec = replace(spec, grace_s=self._grace_s)
            self._process = process = await self._context.launcher.start(spec)
        finally:
            listener.close()
        self.record.running(ready=False)
        self._prober = Prober(self._connect(port, spec), lambda argv: execute(self._context, spec, argv))
        if spec.runtime is not None and not await process.serving():
            raise await self._ended(process)
        await self._until_ready(process, port)

    def _connect(self, port: int, spec: ProcessSpec) -> Upstream:
        http1 = Connections(port, IDLE_UNKNOWN_S if spec.runtime is None else IDLE_S)
        if self._port["name"] != "h2c" and not self._also_http2:
            return http1
        from zeroflow.knative.local.serving import upstream_http2  # loads h2: 40 ms

        return upstream_http2.EitherConnections(http1) if self._also_http2 else upstream_http2.Http2Connections(port)

    async def _until_ready(self, process: Process, port: int) -> None:
        loop = asyncio.get_running_loop()
        probing = loop.create_task(self._probe(listening=process.spec.runtime is not None))
        ending, beside = loop.create_task(process.wait()), loop.create_task(self._companions.failed())
        try:
            while not probing.done():
                await asyncio.wait(
                    (probing, ending, beside), timeout=LOOK_FOR_PORT_S, return_when=asyncio.FIRST_COMPLETED
                )
                if beside.done():
                    raise beside.result()
                if ending.done():
                    raise await self._ended(process)
                if not probing.done() and process.spec.runtime is None and self.connections.port == port:
                    await self._look_elsewhere(process)
            probing.result()
        finally:
            for task in (probing, ending, beside):
                task.cancel()

    async def _probe(self, *, listening: bool) -> None:
        """Pass startup and readiness probes; raise NotReady when the startup probe has failed too often."""
        assert self._prober is not None
        if startup := self._container.get("startupProbe"):
            timed = {"periodSeconds": probes.PERIOD_S} | startup
            allowed = int(startup.get("failureThreshold") or probes.FAILURES)
            if not await self._prober.until_passed(timed, allowed=allowed):
                raise NotReady(f"Startup probe failed {allowed} times: {self._prober.said}")
        readiness = self._container.get("readinessProbe") or {}
        # A connection proves nothing where the socket is the host's own; gunicorn has said that it serves.
        if not listening or not ("tcpSocket" in readiness or not readiness):
            await self._prober.until_passed(readiness)
            if "exec" in readiness:  # says nothing about the port
                await self._prober.until_passed({"tcpSocket": {}})

    async def _look_elsewhere(self, process: Process) -> None:
        """Ask at the declared containerPort when the program listens there and not where PORT says."""
        listening = await asyncio.to_thread(ports.listening, process.pid)
        if self.connections.port in listening or self._port["containerPort"] not in listening:
            return
        assert self._prober is not None
        logger.info("pod %s: it ignores PORT and listens at port %d", self.name, self._port["containerPort"])
        self._prober.upstream.close()
        self._prober.upstream = self._connect(self._port["containerPort"], process.spec)

    def _why_not(self) -> str:
        """Return what keeps a process that runs from being ready."""
        if self._process is None or self._prober is None:
            return "its init containers have not ended"
        listening = sorted(ports.listening(self._process.pid)) if self._process.exit_code is None else []
        port, said = self.connections.port, self._prober.said
        if port in listening or self._process.spec.runtime is not None:
            return f"its probe fails: {said or 'no answer'}"
        where = f"port {', '.join(map(str, listening))}" if listening else "no port of its own"
        return (
            f"it listens on {where}, and neither on the port that PORT names ({port}) nor on its containerPort "
            f"({self._port['containerPort']}); let the program listen on the port in the environment variable PORT"
        )

    async def _ended(self, process: Process) -> ZeroflowError:
        code, said = await process.wait(), tail(self.log)
        if process.interrupted is not None:
            return process.interrupted
        advice = ""
        if any(mark in said.lower() for mark in _PORT_TAKEN):
            advice = (
                "\n(on this host all instances share one machine: a program that ignores PORT and binds its "
                f"containerPort {self._port['containerPort']} runs once, and only while nobody else has the port; "
                "let it listen on the port in the environment variable PORT)"
            )
        image, images = str(self._container.get("image", "")), self._context.images
        lacks = process.spec.runtime is None and any(mark in said.lower() for mark in _NOT_HERE)
        if lacks and (images is None or images.of(image) is None):
            advice = (
                f"\n(image {image!r} is not here: this host runs processes and no images, so the command was this "
                "machine's own; say what stands for the image: zeroflow images map IMAGE DIRECTORY)"
            )
        return ContainerFailed(code, said, advice)

    async def gone(self, timeout_s: float) -> bool:
        """Return whether the process has ended, or ends within `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.wait()
        except TimeoutError:
            return False
        return True

    async def wait(self) -> int:
        """Return the exit code when the process ends, or a sidecar has; only after it was started."""
        assert self._process is not None
        beside = asyncio.ensure_future(self._companions.failed())
        beside.add_done_callback(self._sidecar_ended)
        try:
            return await self._process.wait()
        finally:
            beside.cancel()

    def expect_end(self) -> None:
        """Let the process's successor be prepared; it is needed soon, or forgotten."""
        if self._process is not None and self._process.spec.runtime is not None:
            self._context.launcher.prepare(self._process.spec.runtime)

    async def stop(self, grace_s: float | None = None) -> None:
        """End the process: SIGTERM, and SIGKILL after the grace period."""
        self.ready = False
        if self._process is None and self._clock is not None:
            self._clock.reschedule(0.0)  # it is not started any more
        self._close_connections()
        process = self._process
        if process is not None and process.exit_code is None:
            process.terminate()
            with suppress(TimeoutError):
                async with asyncio.timeout(KILL_AFTER_S + (self._grace_s if grace_s is None else grace_s)):
                    await process.wait()
            process.kill()
            await process.wait()
        await self._companions.stop(self._grace_s if grace_s is None else grace_s)
        volumes.unmount(scratch(self._context, self.record))

    def kill(self) -> None:
        """End the process now."""
        self.ready = False
        self._companions.kill()
        if self._process is not None:
            self._process.kill()

    def taken_away(self, code: int) -> bool:
        """Return whether somebody has killed it, and not for what it did; only after it was ready."""
        return not self._at_fault and killed_from_outside(code)

    def died(self, code: int) -> None:
        """Note that the process has ended by itself."""
        self.ready = False
        self.record.ended(code)
        self._close_connections()
        self._companions.kill()
        volumes.unmount(scratch(self._context, self.record))

    def _close_connections(self) -> None:
        if self._prober is not None:
            self._prober.upstream.close()
        for watch in self._watches:
            watch.cancel()

    def _sidecar_ended(self, beside: asyncio.Future[Any]) -> None:
        if not beside.cancelled() and not self.draining:
            logger.warning("pod %s: %s; it is killed and replaced", self.name, beside.result())
            error = beside.result()
            self._at_fault = isinstance(error, CompanionFailed) and not error.killed_from_outside
            self.kill()

    async def _watch_life(self, liveness: Object) -> None:
        assert self._prober is not None
        await self._prober.until_failed(liveness)
        logger.warning("pod %s: liveness probe failed; it is killed and replaced", self.name)
        said = f"Liveness probe failed: {self._prober.said}; the container is killed and replaced"
        self.record.note("Unhealthy", said, warning=True)
        self._at_fault = True
        self.kill()

    async def _watch_readiness(self, readiness: Object) -> None:
        """Keep requests away from an instance while it says that it is not ready."""
        if "tcpSocket" in readiness:
            return
        assert self._prober is not None
        while True:
            await self._prober.until_failed(readiness)
            self.ready = False
            self.record.note("Unhealthy", f"Readiness probe failed: {self._prober.said}", warning=True)
            self.record.running(ready=False)
            self._changed()
            await self._prober.until_passed({"periodSeconds": probes.PERIOD_S} | readiness)
            if self.pid is None or self.draining:
                return
            self.ready = True
            self.record.running(ready=True)
            self._changed()

    def _marks(self) -> dict[str, str]:
        marks = self.record.object["metadata"]["labels"]
        return {
            "HOSTNAME": self.name,
            "K_SERVICE": marks.get(labels.SERVICE, ""),
            "K_CONFIGURATION": marks.get(labels.CONFIGURATION, ""),
            "K_REVISION": marks[labels.REVISION],
        }

    def _environment(self, port: int) -> dict[str, str]:
        return inherited_environment() | self._marks() | {"PORT": str(port)}
