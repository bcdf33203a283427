"""InferenceServices and TrainedModels as commands use them: where one answers, what is sent to it."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.cli.host import Host, Refused, host_url
from zeroflow.errors import InvalidInput, NotFound, Unavailable
from zeroflow.inference.naming import model_name, predict_path

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces"
MODELS = "/apis/serving.kserve.io/v1alpha1/namespaces"


@dataclass(frozen=True)
class Endpoint:
    """Where one answers a body."""

    url: str
    """The whole URL, protocol's path included."""
    protocol: str
    """v1 or v2, by the form of the body."""


def endpoint(name: str, namespace: str, body: bytes) -> Endpoint:
    """Return where an InferenceService or a TrainedModel answers this body.

    Raises a ZeroflowError that says what is missing.
    """
    host = Host(host_url())
    isvc = _find(host, f"{SERVICES}/{namespace}/inferenceservices/{name}")
    kind, said, serving = "InferenceService", isvc, isvc
    if isvc is None:
        kind, said = "TrainedModel", _find(host, f"{MODELS}/{namespace}/trainedmodels/{name}")
        parent = ((said or {}).get("spec") or {}).get("inferenceService")
        serving = _find(host, f"{SERVICES}/{namespace}/inferenceservices/{parent}") if parent else None
    if said is None:
        raise NotFound(
            f"there is no InferenceService or TrainedModel {name!r} in namespace {namespace!r}; "
            "`kubectl get isvc,tm -A` lists them"
        )
    url = ((serving or {}).get("status") or {}).get("url")
    if not url:
        conditions: list[dict[str, Any]] = (said.get("status") or {}).get("conditions") or []
        ready: dict[str, Any] = next((found for found in conditions if found.get("type") == "Ready"), {})
        why = ready.get("message") or "it is being deployed"
        raise Unavailable(f"{kind} {name!r} does not answer yet: {why}")
    protocol = _protocol(body)
    path = predict_path(model_name(isvc) if isvc is not None else name, protocol)
    return Endpoint(f"{str(url).rstrip('/')}{path}", protocol)


def _find(host: Host, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = host.json("GET", path)
    except Refused as error:
        if error.status == 404:
            return None
        raise
    return found


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
