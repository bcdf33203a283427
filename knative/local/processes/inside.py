"""Reaches into Pods that run: a command beside a container's process, its output, its ports.

A command gets the environment, directory and volumes that the container's process was started with, and ends with the
host as that does. It is not counted as the container's: neither its end nor its output show in the Pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zeroflow.knative.local.api.errors import BadRequest, NotFound
from zeroflow.knative.local.api.rest.streams.pods import Stdio
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.processes import ports
from zeroflow.knative.local.processes.launcher import Launcher
from zeroflow.knative.local.processes.pods import Places
from zeroflow.knative.local.processes.process import Process

LOOK_EVERY_S = 0.2
_PIECE_BYTES = 64 * 1024


class InsidePods:
    """The processes of Pods, as the resource API's streams need them."""

    def __init__(self, store: Store, launcher: Launcher, home: Places) -> None:
        self._store, self._launcher, self._home = store, launcher, home

    def check(self, namespace: str, pod: str, container: str) -> None:
        """Raise BadRequest when the container, "" for any, does not run."""
        self._process(namespace, pod, container)

    async def execute(self, namespace: str, pod: str, container: str, argv: Sequence[str], stdio: Stdio) -> Process:
        """Start a command beside a container's process."""
        spec = self._process(namespace, pod, container).spec
        env = {**spec.env, "TERM": "xterm"} if stdio.terminal else spec.env
        beside = replace(
            spec, argv=tuple(argv), env=env, runtime=None, listener=None, log=Path("/dev/null"), stdio=stdio
        )
        return await self._launcher.start(beside)

    async def output(self, namespace: str, pod: str, container: str) -> AsyncIterator[bytes]:
        """Yield what a container writes from now on, until it ends."""
        process = self._process(namespace, pod, container)
        with process.spec.log.open("rb") as log:
            log.seek(0, 2)
            while True:
                ended = process.exit_code is not None  # asked before reading: what is read after is complete
                if data := log.read(_PIECE_BYTES):
                    yield data
                elif ended:
                    return
                else:
                    await asyncio.sleep(LOOK_EVERY_S)

    async def port(self, namespace: str, pod: str, port: int) -> int:
        """Return where a port of a Pod is: where its processes listen, or what they were given for their own port."""
        for container in self._containers(namespace, pod):
            process = self._launcher.find(self._home.pod_log(namespace, pod, container["name"]))
            if process is None:
                continue
            given = process.spec.env.get("PORT", "")
            declared = {each.get("containerPort") for each in container.get("ports") or ()} or {8080}
            if given.isdecimal() and port in (int(given), *declared):
                listening = await asyncio.to_thread(ports.listening, process.pid)
                return port if port in listening else int(given)
            if port in await asyncio.to_thread(ports.listening, process.pid):
                return port
        raise NotFound(f"pod {pod} does not listen at port {port}")

    def _process(self, namespace: str, pod: str, container: str) -> Process:
        for each in self._containers(namespace, pod):
            if container in ("", each["name"]):
                process = self._launcher.find(self._home.pod_log(namespace, pod, each["name"]))
                if process is not None:
                    return process
        raise BadRequest(f"cannot reach into pod {pod}: container {container or 'any'} does not run")

    def _containers(self, namespace: str, pod: str) -> list[dict[str, Any]]:
        found = self._store.find("Pod", namespace, pod)
        if found is None:
            raise NotFound.named("pods", pod)
        return [*found["spec"]["containers"], *(found["spec"].get("initContainers") or ())]
