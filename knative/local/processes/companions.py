"""What runs around a Pod's main container: init containers before it, sidecars beside it, exec probes inside it.

Init containers run to their end, one after the other; one with `restartPolicy: Always` is a sidecar that is started
in its turn. The main container starts after them. All share the Pod's volumes. Source: Kubernetes core/v1 Pod.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.processes import volumes
from zeroflow.knative.local.processes.container import resolve
from zeroflow.knative.local.processes.logs import tail
from zeroflow.knative.local.processes.pods import PodContext, PodRecord, shell_code
from zeroflow.knative.local.processes.process import Process, ProcessSpec, killed_from_outside
from zeroflow.knative.local.processes.security import give, user_of

Object = dict[str, Any]


class CompanionFailed(ZeroflowError):
    """An init container or a sidecar has ended as it should not have; `reason` is ExitCode<n>."""

    def __init__(self, kind: str, name: str, code: int, said: str) -> None:
        super().__init__(f"{kind} {name!r} failed with: {said or f'exit code {shell_code(code)} and an empty log'}")
        self.reason = f"ExitCode{shell_code(code)}"
        self.killed_from_outside = killed_from_outside(code)


def process_spec(
    context: PodContext, record: PodRecord, container: Object, base: Mapping[str, str], *, as_user: bool = False
) -> ProcessSpec:
    """Return the process that one container of a Pod is; raise what keeps it from starting.

    `as_user`: it runs as its securityContext says.
    """
    pod = record.object
    user = user_of(pod, container) if as_user else None
    mounts = volumes.mount(context, pod, container, scratch(context, record))
    if user is not None:
        give(user, [scratch(context, record)])
    resolved = resolve(pod, container, base, context.find, context.images)
    return ProcessSpec(
        name=record.name,
        argv=resolved.argv,
        env=resolved.env,
        user=user,
        log=context.home.pod_log(record.namespace, record.name, container["name"]),
        cwd=resolved.cwd,
        runtime=resolved.runtime,
        memory_bytes=resolved.memory_bytes,
        mounts=mounts,
        read_only_root=bool((container.get("securityContext") or {}).get("readOnlyRootFilesystem")),
    )


def scratch(context: PodContext, record: PodRecord) -> Path:
    """Return where a Pod's volumes lie."""
    return context.home.run / "pods" / record.name


async def execute(context: PodContext, spec: ProcessSpec, argv: list[str]) -> int:
    """Run a command as a container of this specification would and return its exit code (an exec probe)."""
    inside = replace(spec, argv=tuple(argv), runtime=None, listener=None, log=Path(os.devnull))
    process = await context.launcher.start(inside)
    try:
        return await process.wait()
    finally:
        process.kill()


class Companions:
    """The other containers of one Pod."""

    def __init__(
        self, context: PodContext, record: PodRecord, main: str, base: Mapping[str, str], *, as_user: bool = False
    ) -> None:
        self._context, self._record, self._base, self._as_user = context, record, base, as_user
        spec = record.object["spec"]
        self._inits: list[Object] = spec.get("initContainers") or []
        self._beside: list[Object] = [each for each in spec["containers"] if each["name"] != main]
        self._running: list[Process] = []
        self._watches: list[asyncio.Task[None]] = []
        self._ended: asyncio.Future[ZeroflowError] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Run the init containers and start the sidecars; raise CompanionFailed or what keeps one from starting."""
        for container in self._inits:
            if container.get("restartPolicy") == "Always":
                await self._start_sidecar(container, init=True)
                continue
            process = await self._start(container, init=True)
            code = await process.wait()
            self._running.remove(process)
            self._record.companion_ended(container["name"], code)
            if code:
                raise process.interrupted or CompanionFailed(
                    "init container", container["name"], code, tail(process.spec.log)
                )
        for container in self._beside:
            await self._start_sidecar(container, init=False)

    async def failed(self) -> ZeroflowError:
        """Return why the first sidecar has ended, when it does."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float) -> None:
        """End what runs: SIGTERM, and SIGKILL after the grace period."""
        for watch in self._watches:
            watch.cancel()
        for process in self._running:
            process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                for process in self._running:
                    await process.wait()
        self.kill()

    def kill(self) -> None:
        """End what runs now."""
        for watch in self._watches:
            watch.cancel()
        for process in self._running:
            process.kill()

    async def _start(self, container: Object, *, init: bool) -> Process:
        try:
            spec = process_spec(self._context, self._record, container, self._base, as_user=self._as_user)
            process = await self._context.launcher.start(replace(spec, runtime=None))
        except ZeroflowError as error:
            self._record.companion(container, {"waiting": {"reason": error.reason, "message": str(error)}}, init=init)
            raise
        self._running.append(process)
        self._record.companion_running(container, init=init)
        return process

    async def _start_sidecar(self, container: Object, *, init: bool) -> None:
        process = await self._start(container, init=init)
        self._watches.append(asyncio.get_running_loop().create_task(self._watch(container["name"], process)))

    async def _watch(self, name: str, process: Process) -> None:
        code = await process.wait()
        self._record.companion_ended(name, code)
        if not self._ended.done():
            failed = CompanionFailed("container", name, code, tail(process.spec.log))
            self._ended.set_result(process.interrupted or failed)
