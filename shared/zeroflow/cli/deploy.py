"""`zeroflow deploy`: a Knative Functions project, unchanged, as a function on this machine."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.host import Host, authorization, home_directory, host_url
from zeroflow.cli.output import as_json, fail
from zeroflow.errors import InvalidInput, Unavailable, ZeroflowError
from zeroflow.projects import environment, func_yaml, manifests, source

SERVING, EVENTING = "/apis/serving.knative.dev/v1", "/apis/eventing.knative.dev/v1"
READY_TIMEOUT_S = 600.0
_POLL_S = 0.1
_RAISED = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt|Warning|NotFound)\b")


def deploy(
    directory: Annotated[Path, typer.Argument(help="The project: the folder with func.yaml.")] = Path("."),
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Instead of func.yaml's.")] = None,
    home: Annotated[
        Path | None, typer.Option(help="The running host's home (default: ZEROFLOW_HOME, ~/.zeroflow).")
    ] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="text or json")] = "text",
) -> None:
    """Deploy a Knative Functions project in Python; again: a new revision of it."""
    try:
        told = _deploy(directory, namespace, home or home_directory())
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(told)
        return
    typer.echo(f"{told['name']} is ready: revision {told['revision']}")
    typer.echo(told["url"])


def _deploy(directory: Path, namespace: str | None, home: Path) -> dict[str, Any]:
    if not directory.is_dir():
        raise InvalidInput(f"{directory} is no directory")
    project = func_yaml.read(directory, namespace)
    imported_from = source.import_root(directory)
    home = home.expanduser().resolve()
    if not (home / "host.json").exists():
        raise Unavailable(f"no host runs on {home}: start it with `zeroflow up`, or name its home with --home DIR")
    wanted = environment.requirements(directory)
    own = None
    if environment.needed(wanted):
        own = environment.make(directory, wanted, home / "environments", project.build_env, _say)
    kept = source.keep(directory, home / "functions" / project.namespace / project.name)
    host = Applier(home)
    service = host.apply(
        f"{SERVING}/namespaces/{project.namespace}/services", manifests.service(project, kept, imported_from, own)
    )
    wires = manifests.triggers(project, service["metadata"]["uid"])
    for trigger in wires:
        host.apply(f"{EVENTING}/namespaces/{project.namespace}/triggers", trigger)
    for broker in host.missing_brokers(project):
        _say(f"there is no Broker {broker!r} in namespace {project.namespace!r} yet: its events come when there is one")
    host.prune_triggers(project, {trigger["metadata"]["name"] for trigger in wires})
    service = host.until_ready(project)
    host.prune_sources(project, kept)
    status = service["status"]
    return {
        "name": project.name,
        "namespace": project.namespace,
        "revision": status["latestReadyRevisionName"],
        "url": status["url"],
        "environment": str(own) if own else None,
        "triggers": sorted(trigger["metadata"]["name"] for trigger in wires),
    }


class Applier:
    """Declares the objects of a function and watches over them."""

    def __init__(self, home: Path) -> None:
        self._url = host_url(home)
        headers = authorization(home)
        self._apply = Host(self._url, {**headers, "Content-Type": "application/apply-patch+yaml"})
        self._host = Host(self._url, {**headers, "Content-Type": "application/json"})

    def apply(self, collection: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Apply an object and return it as it is stored."""
        path = f"{collection}/{obj['metadata']['name']}?fieldManager=zeroflow-deploy&force=true"
        stored: dict[str, Any] = self._apply.json("PATCH", path, obj)
        return stored

    def until_ready(self, project: func_yaml.FuncYaml) -> dict[str, Any]:
        """Wait until the Service is Ready; raise Unavailable with what its revision says."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        path = f"{SERVING}/namespaces/{project.namespace}/services/{project.name}"
        while time.monotonic() < deadline:
            service: dict[str, Any] = self._host.json("GET", path)
            status = service.get("status") or {}
            if status.get("observedGeneration") == service["metadata"]["generation"]:
                ready: dict[str, Any] = next((each for each in status["conditions"] if each["type"] == "Ready"), {})
                if ready.get("status") == "True":
                    return service
                if ready.get("status") == "False":
                    raise Unavailable(f"{project.name} does not start: {_gist(ready)}")
            time.sleep(_POLL_S)
        raise Unavailable(f"{project.name} was not ready within {READY_TIMEOUT_S:g} s; see `kubectl describe ksvc`")

    def missing_brokers(self, project: func_yaml.FuncYaml) -> list[str]:
        """Return the Brokers of subscriptions that do not exist."""
        brokers = self._host.json("GET", f"{EVENTING}/namespaces/{project.namespace}/brokers")["items"]
        known = {broker["metadata"]["name"] for broker in brokers}
        return sorted({str(each["source"]) for each in project.subscriptions} - known)

    def prune_triggers(self, project: func_yaml.FuncYaml, wanted: set[str]) -> None:
        """Delete the Triggers of subscriptions that func.yaml no longer has."""
        path = f"{EVENTING}/namespaces/{project.namespace}/triggers"
        label = {"labelSelector": f"{manifests.NAME_LABEL}={project.name}"}
        for trigger in self._host.json("GET", path, query=label)["items"]:
            if trigger["metadata"]["name"] not in wanted:
                self._host.json("DELETE", f"{path}/{trigger['metadata']['name']}")

    def prune_sources(self, project: func_yaml.FuncYaml, kept: Path) -> None:
        """Remove copies of the source that no revision runs any more."""
        path = f"{SERVING}/namespaces/{project.namespace}/revisions"
        label = {"labelSelector": f"serving.knative.dev/service={project.name}"}
        used = {kept.name}
        for revision in self._host.json("GET", path, query=label)["items"]:
            used.add(Path(revision["metadata"]["annotations"].get(manifests.SOURCE_ANNOTATION, "")).name)
        for folder in kept.parent.iterdir():
            if folder.name not in used:
                shutil.rmtree(folder, ignore_errors=True)


def _gist(ready: dict[str, Any]) -> str:
    """Return the line of a failed container's output that says what went wrong."""
    message = str(ready.get("message") or ready.get("reason") or "")
    lines = [line.strip() for line in message.splitlines() if line.strip() and not line.lstrip().startswith("[")]
    raised = [line for line in lines if _RAISED.match(line)]
    return (raised or lines or [message])[-1]


def _say(text: str) -> None:
    typer.echo(text, err=True)
