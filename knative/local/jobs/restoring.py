"""Pods of Jobs that ended under an earlier host: their logs are on disk, the Pod objects went with that host.

So that `kubectl logs job/...` still answers, and whoever collects something from a log after a crash finds it. How a
pod ended is known for the one that completed its Job; of the others it is said to be unknown, as Kubernetes does.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.jobs.pod import pod_object
from zeroflow.knative.local.processes.pods import Places

Object = dict[str, Any]

SUFFIX = re.compile(r"[a-z0-9]{5}")
COMPLETED = {"exitCode": 0, "reason": "Completed"}
UNKNOWN = {"exitCode": 137, "reason": "ContainerStatusUnknown", "message": "The host ended; its memory of the pod went"}


async def restore(store: Store, home: Places, job: Object) -> None:
    """Create the Pod objects of a Job that were there before this host, by the logs that are still there."""
    meta, container = job["metadata"], job["spec"]["template"]["spec"]["containers"][0]
    logs = _logs(home.pod_log(meta["namespace"], meta["name"], container["name"]), meta["name"])
    status = job.get("status") or {}
    complete = bool(status.get("succeeded")) and not status.get("active")
    for log in logs:
        done = complete and log == logs[-1]
        pod = pod_object(job, log.parent.name)
        try:
            created = await store.create(pod)
            await store.update_status({**created, "status": _status(container, log, done=done)})
        except ZeroflowError:  # a Pod of this name is there, or its namespace is going
            continue


def _logs(place: Path, job: str) -> list[Path]:
    """Return the logs of a Job's pods, the oldest first; `place` is where one of a pod called like the Job would be."""
    namespace = place.parent.parent
    found = [
        folder / place.name
        for folder in namespace.glob(f"{job}-*")
        if SUFFIX.fullmatch(folder.name.removeprefix(f"{job}-")) and (folder / place.name).is_file()
    ]
    return sorted(found, key=lambda log: log.stat().st_mtime_ns)


def _status(container: Object, log: Path, *, done: bool) -> Object:
    ended = datetime.fromtimestamp(log.stat().st_mtime, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    state = {"terminated": {**(COMPLETED if done else UNKNOWN), "startedAt": ended, "finishedAt": ended}}
    return {
        "phase": "Succeeded" if done else "Failed",
        "startTime": ended,
        "containerStatuses": [
            {
                "name": container["name"],
                "image": str(container.get("image", "")),
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": 0,
                "state": state,
            }
        ],
    }
