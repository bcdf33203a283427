"""Where a step runs: in a process of this function, or in a Job of its own.

A request ends after 600 s at most, has the function's machine and no devices. What may take longer, needs a device, a
volume or containers before it, or says so itself (`zeroflow.dev/execution: job` among the pod's labels or
annotations), is a Job. So is a component whose last execution took longer than a request may.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.step.request import Task
from zeroflow.functions.step.settings import StepSettings
from zeroflow.images import DEFAULT

EXECUTION = "zeroflow.dev/execution"
NATIVE = ("cpu", "memory", "ephemeral-storage")


class Placement:
    """Decides, and remembers which components have taken too long for a request."""

    def __init__(self, settings: StepSettings) -> None:
        self._limit_s, self._long = settings.time_limit_s, settings.directory.parent / "long-steps"
        self._own_images = settings.own_images

    def reason_for_job(self, task: Task) -> str | None:
        """Say why the step is a Job; None: it is a process of this function."""
        platform = task.platform
        asked = {(platform.get(part) or {}).get(EXECUTION) for part in ("labels", "annotations")} - {None}
        if asked - {"job", "process"}:
            raise InvalidInput(f"{EXECUTION} must be job or process, got {', '.join(map(str, asked))}")
        if platform.get("volumes"):
            return "it has volumes"
        if platform.get("init_containers"):
            return "it has init containers"
        if devices := [name for name in (platform.get("resources") or {}).get("limits", {}) if name not in NATIVE]:
            return f"it needs {', '.join(devices)}"
        image = str(task.executor.get("image") or "")
        if self._own_images and image and not DEFAULT.fullmatch(image):
            return f"it has an image of its own, {image}"
        if "job" in asked:
            return f"its pod is marked {EXECUTION}: job"
        if task.timeout_s is not None and task.timeout_s > self._limit_s:
            return f"it may take {task.timeout_s:g} s, longer than the {self._limit_s:g} s of a request"
        if "process" not in asked and self._note(task).exists():
            return f"it took longer than the {self._limit_s:g} s of a request before"
        return None

    def was_long(self, task: Task) -> None:
        """Remember that the component takes longer than a request may."""
        note = self._note(task)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()

    def _note(self, task: Task) -> Path:
        identity = json.dumps([task.executor.get(part) for part in ("image", "command", "args")])
        return self._long / hashlib.sha256(identity.encode()).hexdigest()[:32]


def without_effect(platform: Mapping[str, Any]) -> list[str]:
    """Return the names of settings that a process of this function does without."""
    names = {"pull_policy": "imagePullPolicy", "security_context": "securityContext"}
    return [*(platform.get("pod") or {}), *(shown for name, shown in names.items() if platform.get(name))]
