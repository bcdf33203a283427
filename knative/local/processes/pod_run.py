"""One Pod of a template: its process, its Pod object, its files; from its start to its end.

For what runs a program as it is, a Job or a ContainerSource; an instance of a Service is `serving.pod`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.processes import volumes
from zeroflow.knative.local.processes.companions import CompanionFailed, Companions, process_spec
from zeroflow.knative.local.processes.container import BadContainer, processors
from zeroflow.knative.local.processes.pods import PodContext, PodRecord
from zeroflow.knative.local.processes.process import Process
from zeroflow.knative.local.processes.server_link import inherited_environment

Object = dict[str, Any]

DEFAULT_GRACE_S = 30


class PodRun:
    """One Pod; its first container is the one that counts."""

    def __init__(self, context: PodContext, pod: Object) -> None:
        self._context = context
        self._container: Object = pod["spec"]["containers"][0]
        self._process: Process | None = None
        self._companions: Companions | None = None
        meta, container = pod["metadata"], self._container["name"]
        self.name: str = meta["name"]
        self._grace_s = float(pod["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))
        self._scratch = context.home.run / "pods" / self.name
        self.log = context.home.pod_log(meta["namespace"], self.name, container)
        self.record = PodRecord(context, pod, container, str(self._container.get("image", "")))
        self.stopping = False
        self.started = asyncio.Event()  # its process runs

    async def run(self, changed: asyncio.Event) -> int:
        """Run to the end and return the exit code; wait for ConfigMaps, Secrets and claims that are not there yet.

        `changed` is set when one of them may have come. Raises what else keeps the container from starting.
        """
        try:
            while True:
                try:
                    process = self._process = await self._start()
                    break
                except CompanionFailed as error:
                    self.record.init_failed(str(error))
                    return 1
                except BadContainer as error:  # a JobSink makes the Secret after the Job
                    self.record.waiting(error.reason, str(error))
                    changed.clear()
                    await changed.wait()
                except ZeroflowError as error:
                    self.record.waiting(error.reason, str(error))
                    raise
            if self.stopping:
                process.kill()
            self.record.running(ready=True)
            self.started.set()
            code = await process.wait()
            self.record.ended(code)
            return code
        finally:
            for one in (self._process, self._companions):
                if one is not None:
                    one.kill()
            volumes.unmount(self._scratch)

    async def stop(self, grace_s: float | None = None) -> None:
        """End the process group: SIGTERM, and SIGKILL after the grace period."""
        self.stopping = True
        process = self._process
        if process is None:
            if self._companions is not None:  # in its init containers
                self._companions.kill()
            return
        process.terminate()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace_s if grace_s is None else grace_s):
                await process.wait()
        process.kill()

    async def _start(self) -> Process:
        volumes.unmount(self._scratch)
        base = inherited_environment() | {"HOSTNAME": self.name}
        spec = process_spec(self._context, self.record, self._container, base)
        self._companions = Companions(self._context, self.record, self._container["name"], base)
        await self._companions.start()
        return await self._context.launcher.start(replace(spec, runtime=None, processors=processors(self._container)))
