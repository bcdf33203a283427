"""What a trial's pods say: how they ended and what they printed, read through the Kubernetes API."""

from __future__ import annotations

from collections.abc import Iterator

from zeroflow.resources.client import Resources
from zeroflow.tuning.spec import TRIAL_LABEL, Object

SIGNALLED = 128
"""Exit codes from here on mean a signal: the program did not end by itself."""


def pods(resources: Resources, trial: Object) -> list[Object]:
    """Return the pods whose primary container tells of a trial, the oldest first."""
    metadata = trial["metadata"]
    labels = {TRIAL_LABEL: metadata["name"], **(trial["spec"].get("primaryPodLabels") or {})}
    found = resources.list("v1", "Pod", metadata["namespace"], labels)
    return sorted(found, key=lambda pod: str((pod.get("status") or {}).get("startTime") or ""))


def telling(found: list[Object], succeeded: bool) -> Object | None:
    """Return the pod whose log tells of the trial: the one that succeeded, or else the last that ran."""
    done = [pod for pod in found if (pod.get("status") or {}).get("phase") == "Succeeded"]
    if succeeded and done:
        return done[-1]
    ran = [pod for pod in found if (pod.get("status") or {}).get("phase") != "Pending"]
    return next(iter((*ran[-1:], *found[-1:])), None)


def lines(resources: Resources, trial: Object, pod: Object) -> Iterator[str]:
    """Yield the lines that a pod's primary container has printed."""
    container = trial["spec"].get("primaryContainerName")
    containers = [each["name"] for each in pod["spec"]["containers"]]
    name = container if container in containers else containers[0]
    return resources.log(pod["metadata"]["namespace"], pod["metadata"]["name"], name)


def exit_code(pod: Object) -> str:
    """Return with which code, other than 0, a pod's program has ended, in words."""
    codes = [code for code in _exit_codes(pod) if code]
    return f"the program ended with exit code {codes[0]}" if codes else ""


def failed_by_itself(found: list[Object]) -> bool:
    """Say whether a program ended with an error of its own, rather than by a signal or with its machine."""
    return any(0 < code < SIGNALLED for pod in found for code in _exit_codes(pod))


def _exit_codes(pod: Object) -> list[int]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return [((each.get("state") or {}).get("terminated") or {}).get("exitCode", 0) for each in statuses]
