"""A registered version as commands use it: found by name, its bytes brought here, its state and signature changed."""

import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import urllib3

from zeroflow.artifacts import content
from zeroflow.cli.host import Host, Refused, authorization
from zeroflow.errors import Conflict, InvalidInput, Unavailable

API = "/api/model_registry/v1"
OWN = "/api/model_registry/zeroflow"
TIMEOUT = urllib3.Timeout(connect=3.0, read=600.0)


def find(host: Host, model: str, version: str) -> dict[str, Any]:
    """Return a version by its model's name and its own."""
    found = host.json("GET", f"{API}/registered_model", query={"name": model})
    query = {"name": version, "parentResourceId": found["id"]}
    made: dict[str, Any] = host.json("GET", f"{API}/model_version", query=query)
    return made


def pull(host: Host, version_id: str, target: Path) -> str:
    """Write a version's files to `target`, which must not exist, whole or not at all; return their hash."""
    if target.exists():
        raise InvalidInput(f"{target} is there already; name a place that is not")
    url = f"{host.url}{OWN}/versions/{version_id}/content"
    scratch = target.with_name(f".{target.name}.part")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        answer = urllib3.request(
            "GET", url, headers=authorization(), preload_content=False, retries=False, timeout=TIMEOUT
        )
        if answer.status != 200:
            raise Refused(answer.status, _message(answer.data))
        with tarfile.open(fileobj=answer, mode="r|") as archive:
            for member in archive:
                _take(archive, member, scratch)
        sha256 = answer.headers.get("zeroflow-sha256", "")
        found = scratch
        files = list(scratch.rglob("*"))
        if len(files) == 1 and content.of(files[0]).sha256 == sha256:
            found = files[0]
        if content.of(found).sha256 != sha256:
            raise Conflict(f"what came has sha256 {content.of(found).sha256}, expected was {sha256}: pull again")
        found.rename(target)
        return sha256
    except (urllib3.exceptions.HTTPError, tarfile.TarError) as error:
        raise Unavailable(f"the download from {host.url} broke off: {error}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def put_object(host: Host, data: bytes, bucket: str, key: str) -> str:
    """Store bytes; return their location."""
    headers = {"Content-Type": "application/octet-stream", **authorization()}
    url = f"{host.url}/objects/{bucket}/{quote(key)}"
    try:
        answer = urllib3.request("PUT", url, body=data, headers=headers, retries=False, timeout=TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"the upload failed: {error}") from error
    if answer.status >= 400:
        raise Refused(answer.status, _message(answer.data))
    return f"store://{bucket}/{key}"


def get_object(host: Host, uri: str) -> bytes:
    """Return the bytes at a location of the local store."""
    url = f"{host.url}/objects/{quote(uri.removeprefix('store://'))}"
    try:
        answer = urllib3.request("GET", url, headers=authorization(), retries=False, timeout=TIMEOUT)
    except urllib3.exceptions.HTTPError as error:
        raise Unavailable(f"the download failed: {error}") from error
    if answer.status != 200:
        raise Refused(answer.status, _message(answer.data))
    return answer.data


def _take(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    parts = PurePosixPath(member.name).parts
    if not member.isfile() or ".." in parts or member.name.startswith("/"):
        raise InvalidInput(f"the download has {member.name[:200]!r}, which is no file of a model")
    place = target.joinpath(*parts)
    place.parent.mkdir(parents=True, exist_ok=True)
    data = archive.extractfile(member)
    assert data is not None
    with place.open("wb") as file:
        shutil.copyfileobj(data, file)


def _message(body: bytes) -> str:
    import json

    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode(errors="replace").split())[:500] or "the host refused"
