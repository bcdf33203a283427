"""The Job of a step: made once for each attempt, told what to do by a file in the store, and read when it has ended.

The Job is in the run's namespace, where its Secrets, ConfigMaps and claims are, and holds what Kubernetes has to know:
volumes, devices, node settings. Its container runs `zeroflow.functions.step.job`, which does there what this function
does for other steps, writes the outcome beside the request and exits with 0. So an exit code other than 0, or no
outcome, means that the pod was lost: the Job tries again as far as `backoffLimit` lets it.

Where components run in their own images, what runs in the container is brought there (`runtime`).

The Job's end wakes this function (ApiServerSource `steps`), which then answers for the step. No token is in the Job.
"""

import json
import math
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import Conflict, NotFound
from zeroflow.functions.step import platform, runtime
from zeroflow.functions.step.request import Attempt, Task
from zeroflow.functions.step.settings import StepSettings
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import find_condition, is_true

COMPONENT, RUN, TASK = "zeroflow.dev/component", "zeroflow.dev/run", "zeroflow.dev/task"
ATTEMPT, TASK_NAME, WHY, LOG, IMAGE = (
    f"zeroflow.dev/{word}" for word in ("attempt", "task-name", "why", "log", "image")
)
SECRET = "zeroflow-step"  # noqa: S105 - the name of a Secret, not one
PASSED_PLAIN = ("ZEROFLOW_HOME", "ZEROFLOW_STORE", "ZEROFLOW_SCRATCH", "ZEROFLOW_NAMESPACE")
PASSED_SECRET = re.compile(r"(AWS|PIP|UV|SSL_CERT)_\w+|(HTTPS?|ALL|NO)_PROXY|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE", re.I)
MOUNTED = (
    ("secret", "Secret", "secretName"),
    ("configMap", "ConfigMap", "name"),
    ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
)
RUN_NAME = "pipelines.kubeflow.org/run_name"
OWN = "ZEROFLOW_OWN_"
"""Before the name of a variable of the step's in its Job, where this program has an environment of its own."""
KEPT_S = 3600
"""How long a finished Job stays to be looked at, when the pipeline does not say."""
LOST_PODS = 3
GRACE_S = 1
MARGIN_S = 30
_NAME = re.compile(r"^[a-z0-9]([a-z0-9-]{0,56}[a-z0-9])?$")


class Jobs:
    """Makes, reads and deletes the Jobs of steps."""

    def __init__(
        self,
        resources: Callable[[], Resources],
        stores: Stores,
        environment: Mapping[str, str],
        settings: StepSettings,
    ) -> None:
        """Take what this function is told of images, and of how many Jobs may run side by side (0: any number)."""
        self._resources, self._stores, self._environment = resources, stores, environment
        self._image, self._at_once, self._own_images = settings.image, settings.jobs, settings.own_images

    def start(self, attempt: Attempt, task: Task, data: Mapping[str, Any], why: str) -> None:
        """Make the attempt's Job; nothing happens when it is there."""
        put_json(self._stores, request_uri(attempt), data)
        resources, secret = self._resources(), self._secret()
        if secret:
            metadata = {"name": SECRET, "namespace": task.namespace}
            resources.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": secret})
        if claim := task.platform.get("workspace"):
            self._workspace(attempt, task, claim)
        platform.variables(task.platform, task.namespace, task.context, self._resources)  # what is missing is told now
        for volume in task.platform.get("volumes") or ():
            self._check_there(volume, task.namespace)
        job = self.manifest(attempt, task, data, why)
        job["spec"]["suspend"] = self._at_once > 0
        with suppress(Conflict):
            resources.create(job)
        self.resume()

    def resume(self) -> None:
        """Let Jobs begin that wait for others to end, the oldest first.

        Called after each Job that is made and each that ends, so that of two at the same time the later one sees both.
        """
        if self._at_once <= 0:
            return
        jobs = self._resources().list("batch/v1", "Job", labels={COMPONENT: "step"})
        unfinished = [job for job in jobs if not (is_true(job, "Complete") or is_true(job, "Failed"))]
        waiting = [job for job in unfinished if job["spec"].get("suspend")]
        free = self._at_once - (len(unfinished) - len(waiting))
        for job in sorted(waiting, key=lambda job: str(job["metadata"].get("creationTimestamp")))[: max(0, free)]:
            metadata = job["metadata"]
            with suppress(NotFound):  # canceled meanwhile
                self._resources().merge(
                    "batch/v1", "Job", metadata["namespace"], metadata["name"], {"spec": {"suspend": False}}
                )

    def cancel(self, attempt: Attempt) -> None:
        """Delete the attempt's Job if it has one, and with it everything that it runs."""
        request = self.request(attempt)
        if request is not None:
            namespace = str(request.get("namespace") or "default")
            self._resources().delete("batch/v1", "Job", namespace, job_name(attempt))

    def request(self, attempt: Attempt) -> dict[str, Any] | None:
        """Return what the attempt's Job was told to do; None when there is none."""
        return read_json(self._stores, request_uri(attempt))

    def outcome(self, attempt: Attempt) -> dict[str, Any] | None:
        """Return what the Job wrote down of its end; None when it did not come to that."""
        return read_json(self._stores, outcome_uri(attempt))

    def _check_there(self, volume: Mapping[str, Any], namespace: str) -> None:
        """Refuse a volume of something that is missing: its pod would wait for ever."""
        for field, kind, key in MOUNTED:
            spec = volume.get(field)
            if spec and not spec.get("optional") and self._resources().find("v1", kind, namespace, spec[key]) is None:
                raise NotFound(f"the step needs {kind} {spec[key]!r}, which is not in namespace {namespace}")

    def _secret(self) -> dict[str, str]:
        return {name: value for name, value in self._environment.items() if PASSED_SECRET.fullmatch(name)}

    def _workspace(self, attempt: Attempt, task: Task, claim: Mapping[str, Any]) -> None:
        """Make the claim that the run's tasks share; it goes when the run has ended."""
        name = next(v["persistentVolumeClaim"]["claimName"] for v in task.platform["volumes"] if _is_workspace(v))
        metadata = {"name": name, "namespace": task.namespace, "labels": {RUN: attempt.run_id}}
        with suppress(Conflict):
            self._resources().create(
                {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": dict(claim)}
            )

    def manifest(self, attempt: Attempt, task: Task, data: Mapping[str, Any], why: str) -> dict[str, Any]:
        """Return the Job, as Kubernetes has it."""
        asked = task.platform
        marks = {COMPONENT: "step", RUN: attempt.run_id, TASK: attempt.task_id}
        told = {ATTEMPT: str(attempt.attempt), TASK_NAME: task.name, WHY: why, LOG: task.log_uri}
        told[IMAGE] = str(task.executor.get("image") or "")
        limit = {} if task.timeout_s is None else {"activeDeadlineSeconds": math.ceil(task.timeout_s) + MARGIN_S}
        ttl_s = max((data.get("ttl_s") or {}).values(), default=KEPT_S)
        pod = {
            **(asked.get("pod") or {}),
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": GRACE_S,
            "containers": [self._container(attempt, task)],
            **({"volumes": asked["volumes"]} if asked.get("volumes") else {}),
            **({"initContainers": asked["init_containers"]} if asked.get("init_containers") else {}),
        }
        if image := self._own_image(task):
            pod = runtime.brought_into(pod, image, self._image)
        return {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {
                "name": job_name(attempt),
                "namespace": task.namespace,
                "labels": {**marks, "app.kubernetes.io/part-of": "zeroflow"},
                "annotations": told,
            },
            "spec": {
                "backoffLimit": LOST_PODS,
                "ttlSecondsAfterFinished": ttl_s,
                **limit,
                "template": {
                    "metadata": {
                        "labels": {"pipeline/runid": attempt.run_id, **(asked.get("labels") or {}), **marks},
                        "annotations": {
                            RUN_NAME: task.context.get("run_name", ""),
                            **(asked.get("annotations") or {}),
                            **told,
                        },
                    },
                    "spec": pod,
                },
            },
        }

    def _own_image(self, task: Task) -> str:
        return str(task.executor.get("image") or "") if self._own_images else ""

    def _container(self, attempt: Attempt, task: Task) -> dict[str, Any]:
        asked = task.platform
        plain = {name: self._environment[name] for name in PASSED_PLAIN if name in self._environment}
        variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in plain.items()]
        variables += [
            {"name": f"{OWN}{name}", "valueFrom": source} for name, source in platform.references(asked).items()
        ]
        container: dict[str, Any] = {
            "name": "main",
            "image": self._image,
            # -I: what stands for the image changes where the step looks for modules, not where this program does
            "command": [sys.executable, "-I", "-m", "zeroflow.functions.step.job"],
            "args": [request_uri(attempt)],
            "env": variables,
            "envFrom": [{"secretRef": {"name": SECRET, "optional": True}}],
        }
        for field, name in (
            ("volumeMounts", "mounts"),
            ("resources", "resources"),
            ("imagePullPolicy", "pull_policy"),
            ("securityContext", "security_context"),
        ):
            if asked.get(name):
                container[field] = asked[name]
        return container


def put_json(stores: Stores, uri: str, document: Mapping[str, Any]) -> None:
    """Write a document to the store."""
    with tempfile.TemporaryDirectory(prefix="zeroflow-job-") as folder:
        file = Path(folder) / "document"
        file.write_text(json.dumps(document), encoding="utf-8")
        stores.put(file, uri)


def read_json(stores: Stores, uri: str) -> dict[str, Any] | None:
    """Read a document from the store; None when there is none."""
    with tempfile.TemporaryDirectory(prefix="zeroflow-job-") as folder:
        target = Path(folder) / "document"
        try:
            stores.fetch(uri, target)
        except NotFound:
            return None
        found: dict[str, Any] = json.loads(target.read_bytes())
        return found


def is_ours(name: str) -> bool:
    """Say whether a variable of a Job's container is this program's, and not its image's or the step's."""
    return name.startswith("ZEROFLOW_") or PASSED_SECRET.fullmatch(name) is not None


def job_name(attempt: Attempt) -> str:
    """Return the name of an attempt's Job."""
    key = attempt.key.replace(".", "-")
    return f"step-{key if _NAME.match(key) else sha256(key.encode()).hexdigest()[:40]}"


def request_uri(attempt: Attempt) -> str:
    """Return where a Job finds what it is to do."""
    return f"store://jobs/{attempt.run_id}/{attempt.key}.json"


def outcome_uri(attempt: Attempt) -> str:
    """Return where a Job writes down how it ended."""
    return f"store://jobs/{attempt.run_id}/{attempt.key}.outcome.json"


def attempt_of(job: Mapping[str, Any]) -> Attempt | None:
    """Return the attempt whose Job this is; None when it is somebody else's."""
    metadata = job.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    number = str(annotations.get(ATTEMPT) or "")
    if labels.get(COMPONENT) != "step" or not number.isdigit():
        return None
    return Attempt.parse({"run_id": labels.get(RUN), "task_id": labels.get(TASK), "attempt": int(number)})


def end_of(job: Mapping[str, Any], *, deleted: bool) -> str | None:
    """Say how a Job has ended, as an error if it left no outcome; None while it goes on."""
    if is_true(dict(job), "Complete"):
        return "its Job ended without an outcome"
    failed = find_condition(dict(job), "Failed")
    if failed and failed.get("status") == "True":
        said = {"BackoffLimitExceeded": f"its pod was lost {LOST_PODS + 1} times; see: kubectl describe job"}
        reason = str(failed.get("reason"))
        return f"its Job failed: {said.get(reason, failed.get('message') or reason)}"
    return "its Job was deleted before it had ended" if deleted else None


def _is_workspace(volume: Mapping[str, Any]) -> bool:
    return str((volume.get("persistentVolumeClaim") or {}).get("claimName", "")).startswith("workspace-")
