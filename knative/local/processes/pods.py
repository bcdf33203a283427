"""A Pod object in the store for each process, so that `kubectl get pods`, `describe` and `logs` see what runs.

`PodRecord` is written behind the process: what happens to the process never waits for the store, and of several
changes in a row only the last is written. Pods are kept in memory by the store; those of an earlier host are gone
with it. Source: Kubernetes core/v1 PodStatus.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from zeroflow.errors import ZeroflowError
from zeroflow.images import Images
from zeroflow.knative.local.api.happenings import Recorder
from zeroflow.knative.local.api.objects import now
from zeroflow.knative.local.processes.container import Find
from zeroflow.knative.local.processes.launcher import Launcher

Object = dict[str, Any]
logger = logging.getLogger(__name__)

WAITING = {"waiting": {"reason": "PodInitializing"}}


class PodStore(Protocol):
    """What a record needs of the store."""

    async def create(self, obj: Object) -> Object: ...
    async def update_status(self, obj: Object) -> Object: ...
    async def delete(self, kind: str, namespace: str | None, name: str) -> object: ...


class PodRecord:
    """One Pod object, kept up to date: the state of its main container is the Pod's, the others are told beside it."""

    def __init__(self, context: PodContext, pod: Object, container: str, image: str) -> None:
        self.object = pod
        self._companions: dict[str, Object] = {}
        self._inits = {each["name"] for each in pod["spec"].get("initContainers") or ()}
        self._main: Object = {}
        self._recorder = context.recorder
        self._news: list[tuple[str, str, bool]] = []
        self.removed = False
        self._store = context.store
        self._container, self._image = container, image
        self._dirty = False
        self._created = False
        self._writer: asyncio.Task[None] | None = None
        self._started_at: str | None = None
        self._set("Pending", ready=False, state={"waiting": {"reason": "ContainerCreating"}})

    @property
    def namespace(self) -> str:
        return str(self.object["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.object["metadata"]["name"])

    def waiting(self, reason: str, message: str) -> None:
        """Say that the container cannot be started."""
        self.note("Failed", f"Error: {message}", warning=True)
        self._set("Pending", ready=False, state={"waiting": {"reason": reason, "message": message}})

    def init_failed(self, message: str) -> None:
        """Say that the main container is never started: one before it has failed."""
        self.note("Failed", f"Error: {message}", warning=True)
        self._set("Failed", ready=False, state=WAITING)

    def running(self, *, ready: bool) -> None:
        """Say that the process runs, and whether it is ready."""
        if self._started_at is None:
            self._started_at = now()
            self.note("Started", f"Started container {self._container}")
        self._set("Running", ready=ready, state={"running": {"startedAt": self._started_at}})

    def ended(self, code: int) -> None:
        """Say how the process ended; a negative code is a signal."""
        exit_code = shell_code(code)
        if exit_code and not self.removed:
            self.note("Failed", f"Container {self._container} ended with exit code {exit_code}", warning=True)
        self._set("Succeeded" if exit_code == 0 else "Failed", ready=False, state=_terminated(code, self._started_at))

    def companion(self, container: Object, state: Object, *, init: bool) -> None:
        """Say what another container of the Pod is doing."""
        status = _container_status(container["name"], str(container.get("image", "")), state, ready="running" in state)
        self._companions[container["name"]] = status
        if init:
            self._main |= {"state": {"waiting": {"reason": "PodInitializing"}}}
        self._show(self.object["status"]["phase"], ready=False)

    def companion_running(self, container: Object, *, init: bool) -> None:
        """Say that another container's process runs."""
        self.note("Started", f"Started container {container['name']}")
        self.companion(container, {"running": {"startedAt": now()}}, init=init)

    def companion_ended(self, name: str, code: int) -> None:
        """Say how another container's process ended."""
        status = self._companions[name]
        began = status["state"].get("running", {}).get("startedAt")
        status |= {"ready": name in self._inits and code == 0, "started": False, "state": _terminated(code, began)}
        if code and not self.removed:
            self.note("Failed", f"Container {name} ended with exit code {shell_code(code)}", warning=True)
        self._show(self.object["status"]["phase"], ready=self._main["ready"])

    def remove(self) -> None:
        """Delete the object."""
        if not self.removed and "running" in self._main["state"]:
            self.note("Killing", f"Stopping container {self._container}")
        self.removed = True
        self._write()

    def note(self, reason: str, message: str, *, warning: bool = False) -> None:
        """Record news about the Pod; what happens before it has its uid is told when it has."""
        self._news.append((reason, message, warning))
        if self._created:
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, []
        for reason, message, warning in news:
            if self._recorder is not None:
                self._recorder.note(self.object, reason, message, warning=warning)

    async def settled(self) -> None:
        """Wait until the store has the latest state."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def _set(self, phase: str, *, ready: bool, state: Object) -> None:
        self._main = _container_status(self._container, self._image, state, ready=ready)
        self._show(phase, ready=ready)

    def _show(self, phase: str, *, ready: bool) -> None:
        begun = all("terminated" in self._companions.get(name, {}).get("state", {}) for name in self._inits)
        flag = "True" if ready else "False"
        known = self._companions | {self._container: self._main}
        status: Object = {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Initialized", "status": "True" if begun or phase != "Pending" else "False"},
                {"type": "ContainersReady", "status": flag},
                {"type": "Ready", "status": flag},
            ],
            "containerStatuses": [
                known.get(each["name"]) or _container_status(each["name"], str(each.get("image", "")), WAITING)
                for each in self.object["spec"]["containers"]
            ],
            "hostIP": "127.0.0.1",
            "podIP": "127.0.0.1",
            "startTime": self.object.get("status", {}).get("startTime") or now(),
        }
        if inits := self.object["spec"].get("initContainers"):
            status["initContainerStatuses"] = [
                known.get(each["name"]) or _container_status(each["name"], str(each.get("image", "")), WAITING)
                for each in inits
            ]
        for condition in status["conditions"]:
            condition["lastTransitionTime"] = _transition(self.object, condition)
        self.object["status"] = status
        self._write()

    def _write(self) -> None:
        self._dirty = True
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write_all())

    async def _write_all(self) -> None:
        try:
            while self._dirty:
                self._dirty = False
                if self.removed:
                    if self._created:
                        await self._store.delete("Pod", self.namespace, self.name)
                    return
                if not self._created:
                    created = await self._store.create(self.object)
                    self.object["metadata"]["uid"] = created["metadata"]["uid"]
                    self._created = True
                    self._tell()
                await self._store.update_status(self.object)
        except ZeroflowError as error:  # deleted by a user, or its namespace is going
            logger.debug("pod %s/%s: %s", self.namespace, self.name, error)


def _container_status(name: str, image: str, state: Object, *, ready: bool = False) -> Object:
    return {
        "name": name,
        "image": image,
        "imageID": "",
        "ready": ready,
        "started": "running" in state,
        "restartCount": 0,
        "state": state,
    }


def _terminated(code: int, started_at: str | None) -> Object:
    exit_code = shell_code(code)
    terminated: Object = {
        "exitCode": exit_code,
        "reason": "Completed" if exit_code == 0 else "Error",
        "startedAt": started_at or now(),
        "finishedAt": now(),
    }
    if code < 0:
        terminated["signal"] = -code
    return {"terminated": terminated}


def shell_code(code: int) -> int:
    """Return an exit code as Kubernetes shows it: 128 + signal for a process that was killed."""
    return 128 - code if code < 0 else code


def _transition(pod: Object, condition: Object) -> str:
    for before in pod.get("status", {}).get("conditions") or ():
        if before["type"] == condition["type"] and before["status"] == condition["status"]:
            return str(before["lastTransitionTime"])
    return now()


class Places(Protocol):
    """Where logs, scratch and volumes lie (`Home`)."""

    @property
    def root(self) -> Path: ...
    @property
    def run(self) -> Path: ...
    @property
    def volumes(self) -> Path: ...
    @property
    def secrets(self) -> Path: ...
    def volume(self, namespace: str, claim: str, uid: str) -> Path: ...
    def pod_log(self, namespace: str, pod: str, container: str) -> Path: ...


@dataclass(frozen=True)
class PodContext:
    """What every pod needs of the host."""

    store: PodStore
    find: Find
    launcher: Launcher
    home: Places
    recorder: Recorder | None = None
    images: Images | None = None
