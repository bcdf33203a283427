"""`zeroflow functions`: what `zeroflow deploy` has deployed: list, invoke, delete."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Annotated, Any

import typer
import urllib3

from zeroflow.cli.deploy import SERVING
from zeroflow.cli.host import Host, authorization, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError
from zeroflow.projects.manifests import FUNCTION_LABEL

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Functions that `zeroflow deploy` has deployed.")

Namespace = Annotated[str, typer.Option("--namespace", "-n")]
Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]
Home = Annotated[Path | None, typer.Option(help="The running host's home.")]
MESSAGE = '{"message":"Hello World"}'


@app.command("list")
def list_functions(home: Home = None, output: Output = "table") -> None:
    """Show the functions of all namespaces."""
    try:
        found = _host(home).json("GET", f"{SERVING}/services", query={"labelSelector": f"{FUNCTION_LABEL}=true"})[
            "items"
        ]
    except ZeroflowError as error:
        fail(str(error))
    rows = [
        {
            "name": each["metadata"]["name"],
            "namespace": each["metadata"]["namespace"],
            "ready": _ready(each),
            "revision": (each.get("status") or {}).get("latestReadyRevisionName", ""),
            "url": (each.get("status") or {}).get("url", ""),
        }
        for each in found
    ]
    if output == "json":
        as_json(rows)
    elif rows:
        as_table(("name", "namespace", "ready", "revision", "url"), rows)
    else:
        typer.echo("no functions; `zeroflow deploy DIR` deploys one", err=True)


@app.command()
def delete(name: str, namespace: Namespace = "default", home: Home = None) -> None:
    """Delete a function, its revisions and its Triggers."""
    try:
        _host(home).json("DELETE", f"{SERVING}/namespaces/{namespace}/services/{name}")
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{name} is deleted")


@app.command()
def invoke(
    name: str,
    namespace: Namespace = "default",
    data: Annotated[str, typer.Option(help="The body; @FILE reads it from a file.")] = MESSAGE,
    content_type: str = "application/json",
    form: Annotated[
        str | None, typer.Option("--format", "-f", help="http or cloudevent (default: func.yaml's)")
    ] = None,
    source: str = "/boson/fn",
    type_: Annotated[str, typer.Option("--type")] = "boson.fn",
    home: Home = None,
) -> None:
    """Send a function a request, or an event, and print its answer."""
    try:
        service = _host(home).json("GET", f"{SERVING}/namespaces/{namespace}/services/{name}")
    except ZeroflowError as error:
        fail(str(error))
    env = service["spec"]["template"]["spec"]["containers"][0].get("env") or ()
    declared = next((each["value"] for each in env if each["name"] == "ZEROFLOW_FUNCTION_INVOKE"), "http")
    body = Path(data[1:]).read_bytes() if data.startswith("@") else data.encode()
    headers = {**authorization(home), "Content-Type": content_type}
    if (form or declared) == "cloudevent":
        marks = {"specversion": "1.0", "id": str(uuid.uuid4()), "type": type_, "source": source}
        headers |= {f"Ce-{key.title()}": value for key, value in marks.items()}
    url = f"{host_url(home)}/serving/{namespace}/{name}/"
    try:
        answer = urllib3.request("POST", url, body=body, headers=headers, retries=False, timeout=600.0)
    except urllib3.exceptions.HTTPError as error:
        fail(f"{url} does not answer: {error}")
    typer.echo(_shown(answer.data), nl=not answer.data.endswith(b"\n"))
    if answer.status >= 400:
        fail(f"{name} answered {answer.status}")


def _host(home: Path | None) -> Host:
    return Host(host_url(home), {**authorization(home), "Content-Type": "application/json"})


def _ready(service: dict[str, Any]) -> str:
    conditions = (service.get("status") or {}).get("conditions") or ()
    return next((str(each["status"]) for each in conditions if each["type"] == "Ready"), "Unknown")


def _shown(body: bytes) -> str:
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body.decode(errors="replace")
