"""`zeroflow models push`: register a model that was made elsewhere as a new version, with what it was made from.

The bytes are uploaded before anything is registered, under a location that no other push uses, so that a push that is
interrupted leaves a registry that names nothing that is not there. The hash is taken of the local files; whoever
serves the model compares.
"""

import json
import re
import uuid
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
import urllib3

from zeroflow.artifacts import content
from zeroflow.cli.host import Host, Refused, authorization, host_url
from zeroflow.cli.model_source import ModelSource, opened
from zeroflow.cli.model_source import code as code_of
from zeroflow.cli.output import as_json, fail
from zeroflow.errors import InvalidInput, ZeroflowError

API = "/api/model_registry/v1"
BUCKET = "models"
UPLOAD_TIMEOUT_S = 600.0
_SIDES = ("inputs", "outputs")
MAX_INT = 999_999_999
"""What a custom property's int_value holds."""


def push(
    model: Annotated[str, typer.Argument(metavar="DIR|FILE|OCI-LAYOUT|s3://...", help="The model's files.")],
    name: Annotated[str, typer.Argument(help="The registered model; made when it is not there.")],
    version: Annotated[str | None, typer.Option(help="The version's name; the next number by default.")] = None,
    author: Annotated[str | None, typer.Option(help="Who made it.")] = None,
    description: Annotated[str | None, typer.Option(help="Of the version.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(metavar="URI[@SHA256]", help="What it was trained on; may be repeated.")
    ] = None,
    code: Annotated[
        str | None, typer.Option(metavar="REPOSITORY@COMMIT", help="Its code; this git repository by default.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option(help='JSON file {"inputs": [...], "outputs": [...]}; read from the model by default.')
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Of an OCI layout with more than one.")] = None,
    output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table",
) -> None:
    """Register files as a version of NAME; what lies in S3 stays there, all else is uploaded."""
    told = {"author": author, "description": description}
    try:
        with opened(model, tag) as source:
            lineage = code_of(code) | source.told | _signature(signature, source.path)
            made = _push(Host(host_url()), source, name, version, told, lineage, data or [])
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(made)
        return
    typer.echo(f"{name} version {made['version']['name']}  {made['artifact']['uri']}  sha256 {made['sha256']}")
    governed = "approval.state" in (made["version"].get("customProperties") or {})
    typer.echo(f"next: zeroflow models {'submit' if governed else 'show'} {name} {made['version']['name']}", err=True)


def _push(
    host: Host,
    source: ModelSource,
    name: str,
    version: str | None,
    told: dict[str, str | None],
    properties: dict[str, str],
    data: list[str],
) -> dict[str, Any]:
    sets = [_data_set(one) for one in data]
    described = content.of(source.path)
    uri = source.uri or _upload_all(host, source.path, source.name, name)
    registered = _model(host, name)
    fields = {key: value for key, value in told.items() if value is not None}
    made = _version(host, registered, version, {**fields, "customProperties": _texts(properties)})
    size: dict[str, Any] = {"metadataType": "MetadataDoubleValue", "double_value": float(described.size_bytes)}
    if described.size_bytes <= MAX_INT:
        size = {"metadataType": "MetadataIntValue", "int_value": str(described.size_bytes)}
    path = f"{API}/model_versions/{made['id']}/artifacts"
    for one in sets:
        host.json("POST", path, one)
    artifact = {
        "artifactType": "model-artifact",
        "name": source.name,
        "uri": uri,
        "state": "LIVE",
        "customProperties": {**_texts({"sha256": described.sha256}), "size_bytes": size},
        **_format(source.path),
    }
    stored = host.json("POST", path, artifact)
    return {"registeredModel": registered, "version": made, "artifact": stored, "sha256": described.sha256}


def _upload_all(host: Host, path: Path, title: str, name: str) -> str:
    key = f"{quote(name.lower(), safe='').replace('%', '_')}/{uuid.uuid4().hex[:12]}"
    if not path.is_dir():
        _upload(host, path, f"{key}/{title}")
        return f"store://{BUCKET}/{key}/{title}"
    for file in content.files_of(path):
        _upload(host, file, f"{key}/{file.relative_to(path).as_posix()}")
    return f"store://{BUCKET}/{key}"


def _data_set(stated: str) -> dict[str, Any]:
    uri, _, sha256 = stated.rpartition("@")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        uri, sha256 = stated, ""
    if "://" not in uri:
        raise InvalidInput(f"--data must be URI or URI@SHA256, got {stated!r}")
    told: dict[str, Any] = {"artifactType": "dataset-artifact", "name": uri[-200:], "uri": uri}
    return told | ({"digest": f"sha256:{sha256}"} if sha256 else {})


def _signature(file: Path | None, model: Path) -> dict[str, str]:
    from zeroflow.models import signatures

    if file is None:
        found: Any = signatures.of(model)
    else:
        try:
            found = json.loads(file.read_text())
        except (OSError, ValueError) as error:
            raise InvalidInput(f"the signature {file} cannot be read: {error}") from error
        if not isinstance(found, dict) or not all(isinstance(found.get(side), list) for side in _SIDES):
            raise InvalidInput(f'the signature {file} must be {{"inputs": [...], "outputs": [...]}}')
    return {f"signature.{side}": json.dumps(found[side]) for side in _SIDES} if found else {}


def _texts(values: dict[str, str]) -> dict[str, Any]:
    return {name: {"metadataType": "MetadataStringValue", "string_value": value} for name, value in values.items()}


def _upload(host: Host, path: Path, key: str) -> None:
    url = f"{host.url}/objects/{BUCKET}/{quote(key)}"
    headers = {"Content-Length": str(path.stat().st_size), **authorization()}
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


def _version(host: Host, model: dict[str, Any], name: str | None, told: dict[str, Any]) -> dict[str, Any]:
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
    from zeroflow.models import directories

    try:
        return {"modelFormatName": directories.find_model(model).format}
    except ZeroflowError:
        return {}
