"""`zeroflow models push`: upload a model and register it as a new version.

The bytes are uploaded before anything is registered, under a location that no other push uses, so that a push that is
interrupted leaves a registry that names nothing that is not there. The hash is taken of the local files; whoever
serves the model compares.
"""

import uuid
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import urllib3

from zeroflow.artifacts import content
from zeroflow.cli.host import Host, Refused, host_url
from zeroflow.cli.output import as_json, fail
from zeroflow.errors import ZeroflowError

API = "/api/model_registry/v1"
BUCKET = "models"
UPLOAD_TIMEOUT_S = 600.0
MAX_INT = 999_999_999
"""What a custom property's int_value holds."""


def push(
    model: Annotated[Path, typer.Argument(metavar="DIR|FILE", help="The model's directory or file.")],
    name: Annotated[str, typer.Argument(help="The registered model; made when it is not there.")],
    version: Annotated[str | None, typer.Option(help="The version's name; the next number by default.")] = None,
    author: Annotated[str | None, typer.Option(help="Who made it.")] = None,
    description: Annotated[str | None, typer.Option(help="Of the version.")] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table",
) -> None:
    """Upload DIR or FILE and register it as a version of NAME."""
    try:
        made = _push(Host(host_url()), model, name, version, {"author": author, "description": description})
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(made)
        return
    typer.echo(f"{name} version {made['version']['name']}  {made['artifact']['uri']}  sha256 {made['sha256']}")
    typer.echo(f"next: zeroflow models show {name} {made['version']['name']}", err=True)


def _push(host: Host, model: Path, name: str, version: str | None, told: dict[str, str | None]) -> dict[str, Any]:
    files = sorted(path for path in model.rglob("*") if path.is_file()) if model.is_dir() else [model]
    if not model.exists() or not files:
        fail(f"{model} holds no file")
    described = content.of(model)
    key = f"{quote(name.lower(), safe='').replace('%', '_')}/{uuid.uuid4().hex[:12]}"
    for path in files:
        _upload(host, path, f"{key}/{path.relative_to(model).as_posix() if model.is_dir() else path.name}")
    uri = f"store://{BUCKET}/{key}" + ("" if model.is_dir() else f"/{model.name}")
    registered = _model(host, name)
    made = _version(host, registered, version, {key: value for key, value in told.items() if value is not None})
    size: dict[str, Any] = {"metadataType": "MetadataDoubleValue", "double_value": float(described.size_bytes)}
    if described.size_bytes <= MAX_INT:
        size = {"metadataType": "MetadataIntValue", "int_value": str(described.size_bytes)}
    artifact = {
        "artifactType": "model-artifact",
        "name": model.name,
        "uri": uri,
        "state": "LIVE",
        "customProperties": {
            "sha256": {"metadataType": "MetadataStringValue", "string_value": described.sha256},
            "size_bytes": size,
        },
        **_format(model),
    }
    stored = host.json("POST", f"{API}/model_versions/{made['id']}/artifacts", artifact)
    return {"registeredModel": registered, "version": made, "artifact": stored, "sha256": described.sha256}


def _upload(host: Host, path: Path, key: str) -> None:
    url = f"{host.url}/objects/{BUCKET}/{quote(key)}"
    headers = {"Content-Length": str(path.stat().st_size)}
    with path.open("rb") as body:
        try:
            answer = urllib3.request("PUT", url, body=body, headers=headers, retries=False, timeout=UPLOAD_TIMEOUT_S)
        except urllib3.exceptions.HTTPError as error:
            fail(f"the upload of {path} failed: {error}")
    if answer.status >= 400:
        fail(f"the upload of {path} was refused: {answer.data.decode(errors='replace').strip()}")


def _model(host: Host, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = host.json("GET", f"{API}/registered_model", query={"name": name})
    except Refused as refused:
        if refused.status != 404:
            raise
        found = host.json("POST", f"{API}/registered_models", {"name": name})
    return found


def _version(host: Host, model: dict[str, Any], name: str | None, told: dict[str, str]) -> dict[str, Any]:
    """Make the version; without a name, the number after the highest, again when somebody else took it meanwhile."""
    path = f"{API}/registered_models/{model['id']}/versions"
    while True:
        body = {**told, "name": name or str(_highest(host, path) + 1), "registeredModelId": model["id"]}
        try:
            made: dict[str, Any] = host.json("POST", f"{API}/model_versions", body)
            return made
        except Refused as refused:
            if refused.status != 409 or name is not None:
                raise


def _highest(host: Host, path: str) -> int:
    names = [one["name"] for one in host.json("GET", path)["items"]]
    return max((int(name) for name in names if name.isascii() and name.isdigit()), default=0)


def _format(model: Path) -> dict[str, str]:
    """Return what the files say of their format; a format that is not known here is left to the user."""
    from zeroflow.models import formats

    try:
        return {"modelFormatName": formats.find_model(model).format}
    except ZeroflowError:
        return {}
