"""InferenceServices as commands use them: where one answers, what is sent to it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.cli.host import Host, Refused, host_url
from zeroflow.errors import InvalidInput, NotFound, Unavailable

API = "/apis/serving.kserve.io/v1beta1/namespaces"


@dataclass(frozen=True)
class Endpoint:
    """Where an InferenceService answers a body."""

    url: str
    """The whole URL, protocol's path included."""
    protocol: str
    """v1 or v2, by the form of the body."""


def endpoint(name: str, namespace: str, body: bytes) -> Endpoint:
    """Return where an InferenceService answers this body; raise a ZeroflowError that says what is missing."""
    host = Host(host_url())
    try:
        isvc = host.json("GET", f"{API}/{namespace}/inferenceservices/{name}")
    except Refused as error:
        if error.status == 404:
            raise NotFound(
                f"there is no InferenceService {name!r} in namespace {namespace!r}; `kubectl get isvc -A` lists them"
            ) from error
        raise
    status = isvc.get("status") or {}
    conditions: list[dict[str, Any]] = status.get("conditions") or []
    ready: dict[str, Any] = next((found for found in conditions if found.get("type") == "Ready"), {})
    url = status.get("url")
    if not url:
        why = ready.get("message") or "it is being deployed"
        raise Unavailable(f"InferenceService {name!r} does not answer yet: {why}")
    protocol = _protocol(body)
    path = f"/v2/models/{name}/infer" if protocol == "v2" else f"/v1/models/{name}:predict"
    return Endpoint(f"{str(url).rstrip('/')}{path}", protocol)


def read_body(data: str) -> bytes:
    """Return the JSON that `-d` gives: `@file`, `-` for standard input, or the text itself."""
    if data == "-":
        return sys.stdin.buffer.read()
    if not data.startswith("@"):
        return data.encode()
    try:
        return Path(data[1:]).read_bytes()
    except OSError as error:
        raise InvalidInput(f"cannot read {data[1:]}: {error.strerror}") from error


def _protocol(body: bytes) -> str:
    """Tell the protocol by the body: V2's `inputs` are tensors with a name, V1 has `instances` or other `inputs`."""
    try:
        document: Any = json.loads(body)
    except ValueError as error:
        raise InvalidInput(
            f'the data is no JSON ({error}); expected {{"instances": [[1, 2]]}} or V2\'s inputs'
        ) from error
    if not isinstance(document, dict) or not {"instances", "inputs"} & set(document):
        raise InvalidInput('the data must have "instances" (V1) or "inputs" (V2)')
    inputs = document.get("inputs")
    tensors = isinstance(inputs, list) and all(isinstance(each, dict) and "datatype" in each for each in inputs)
    return "v2" if tensors and inputs else "v1"
