"""JobSinks: an event becomes a Job, once.

Guarantees: (source, id) names the Job, so a second post of an event finds it and is answered 202 without a new one;
the event's file is on disk before the Job exists and stays for as long as the Job does. On this host the directory
that K_EVENT_PATH names is the file's own place, not a mount. Source: Knative JobSink (sinks/v1alpha1): codes,
Location, labels, names, environment.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import uuid
from pathlib import Path
from urllib.parse import unquote

from aiohttp import web

from zeroflow.knative.local.api.errors import AlreadyExists, ApiError
from zeroflow.knative.local.api.objects import Object, copy, labels
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.cloudevent import Event, from_http, to_json
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.destinations import JOB_SINK, Reference
from zeroflow.knative.local.eventing.errors import EventForbidden, InvalidEvent, JobSinkNotFound
from zeroflow.knative.local.eventing.ingress import Ingress, read_body, refusal
from zeroflow.knative.local.eventing.jobsink_spec import (
    ID_LABEL,
    NAME_LABEL,
    job_id,
    job_name,
    pod_spec,
    status_path,
)
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.urls import Urls
from zeroflow.resources.owners import owned_by

logger = logging.getLogger(__name__)

JOB = "Job.batch"
EVENT_FILE = "event"
_STATUS_PATH = re.compile(r"(?P<mount>.*?)/namespaces/([^/]+)/name/([^/]+)/sources/([^/]+)/ids/([^/?]+)(\?.*)?")
_ALLOW = {"Allow": "POST, GET, OPTIONS"}


class JobSinks:
    """Receives events for JobSinks; `events` is the directory below which event files lie."""

    def __init__(
        self, store: Store, ingress: Ingress, status: StatusWriter, urls: Urls, events: Path, max_event_bytes: int
    ) -> None:
        self._store, self._ingress, self._status, self._urls = store, ingress, status, urls
        self._events, self._max_event_bytes = events, max_event_bytes

    async def handle(self, request: web.Request, namespace: str, name: str) -> web.Response:
        """Answer POST /<namespace>/<name>, and GET of the Location that a POST was answered with."""
        if request.method == "OPTIONS":
            return web.Response(
                status=200, headers={**_ALLOW, "WebHook-Allowed-Origin": "*", "WebHook-Allowed-Rate": "*"}
            )
        asked = _STATUS_PATH.fullmatch(request.raw_path)
        if request.method == "GET" and asked:
            parts = [unquote(part) for part in asked.groups()[1:5]]
            return self._state(*parts)
        if request.method != "POST":
            return refusal(405, f"{request.method} is not allowed: POST an event", _ALLOW)
        try:
            self._find(namespace, name)
            event = from_http(request.headers.items(), await read_body(request, self._max_event_bytes))
            self._ingress.check_publisher(event, request.headers)
            await self.run_job(namespace, name, event)
        except (JobSinkNotFound, InvalidEvent) as error:
            return refusal(400, str(error))
        except EventForbidden as error:
            return refusal(403, str(error))
        except (ApiError, OSError) as error:
            logger.error("job not created: sink=%s/%s event_id=%s error=%s", namespace, name, event.id, error)
            reason = " ".join(str(error).split())[:500].encode("ascii", "replace").decode()
            return refusal(500, f"the job could not be created: {error}", {"Reason": reason})
        # Under the bare host this room is mounted at a prefix; under its own host name it is the root.
        mount = request.path.removesuffix(f"/{namespace}/{name}") if request.path.startswith("/jobsinks/") else ""
        location = mount + status_path(namespace, name, event.source, event.id)
        return web.Response(status=202, headers={"Location": location})

    async def run_job(self, namespace: str, name: str, event: Event) -> None:
        """Make sure that the event's Job exists; raise JobSinkNotFound, or what the store refuses the Job for."""
        sink = self._find(namespace, name)
        job = job_name(name, event.source, event.id)
        if self._store.find(JOB, namespace, job) is not None:
            return
        directory = self._events / namespace / job
        await asyncio.to_thread(_write_event, directory, to_json(event))
        try:
            await self._store.create(_job(sink, job, event, directory))
        except AlreadyExists:
            logger.debug("job exists already: job=%s/%s", namespace, job)

    async def changed(self, sink: Object) -> None:
        """Write the status of a JobSink."""
        metadata = sink["metadata"]
        conditions = Conditions(("Addressable", "EventPoliciesReady"))
        conditions.true("Addressable")
        conditions.true("EventPoliciesReady", "EventPoliciesSkipped", 'feature "authentication-oidc" is disabled')
        fields = {
            "address": {"name": "http", "url": self._urls.jobsink(metadata["namespace"], metadata["name"])},
            "job": {"selector": f"{NAME_LABEL}={metadata['name']}"},
        }
        await self._status.write(conditions.written(sink, fields))

    async def deleted(self, sink: Object) -> None:
        """Its Jobs run to their end."""

    def references(self, sink: Object) -> set[Reference]:
        """A JobSink refers to nothing."""
        return set()

    async def job_deleted(self, job: Object) -> None:
        """Remove the event file of a Job that is gone."""
        if NAME_LABEL in labels(job):
            directory = self._events / job["metadata"]["namespace"] / job["metadata"]["name"]
            await asyncio.to_thread(shutil.rmtree, directory, True)

    def sweep(self) -> None:
        """Remove event files whose Job does not exist; for the start, when nothing is being created."""
        for directory in self._events.glob("*/*"):
            if self._store.find(JOB, directory.parent.name, directory.name) is None:
                shutil.rmtree(directory, ignore_errors=True)

    def _find(self, namespace: str, name: str) -> Object:
        sink = self._store.find(JOB_SINK, namespace, name)
        if sink is None:
            raise JobSinkNotFound(namespace, name)
        return sink

    def _state(self, namespace: str, name: str, source: str, event_id: str) -> web.Response:
        job = self._store.find(JOB, namespace, job_name(name, source, event_id))
        if job is None:
            return refusal(500, f"no job for source {source!r} and id {event_id!r}: it never ran here or was removed")
        states = {each["type"]: each["status"] for each in (job.get("status") or {}).get("conditions") or ()}
        for condition, status in (("Complete", 200), ("Failed", 400)):
            if states.get(condition) == "True":
                return web.Response(status=status, headers={"Reason": condition})
        return web.Response(status=202)


def _job(sink: Object, name: str, event: Event, directory: Path) -> Object:
    metadata = sink["metadata"]
    template = copy(sink["spec"]["job"])
    own = template.get("metadata") or {}
    pod = pod_spec(template)
    added = [
        {"name": "K_EVENT_PATH", "value": str(directory)},
        {"name": "K_EXECUTION_MODE", "value": "batch"},
    ]
    for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
        names = {entry["name"] for entry in added}
        container["env"] = [each for each in container.get("env") or () if each.get("name") not in names] + added
    key = {NAME_LABEL: metadata["name"], ID_LABEL: job_id(event.source, event.id)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": {**(own.get("labels") or {}), **key},
            "annotations": own.get("annotations") or {},
            "ownerReferences": owned_by(sink),
        },
        "spec": template["spec"],
    }


def _write_event(directory: Path, document: bytes) -> None:
    """Put the file in place whole, and on disk; the same event may be written by several posts at once."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    scratch = directory / f".{EVENT_FILE}-{uuid.uuid4().hex}"
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    scratch.rename(directory / EVENT_FILE)
    for place in (directory, directory.parent):
        opened = os.open(place, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
