"""Registered versions as a CycloneDX ML-BOM: what each is, what it was trained on, how well it does, who vouches.

A version is a component of type machine-learning-model with a model card; each data set that leads to it, through
however many tasks, is one of type data that it depends on; the tasks are told as properties.
Source: CycloneDX 1.6 (component, modelCard, data, dependencies).
"""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow import __version__
from zeroflow.functions.register import registration
from zeroflow.functions.register.entities import METRIC, MODEL_ARTIFACT, PARAMETER
from zeroflow.functions.register.graph import Graph
from zeroflow.functions.register.graph_nodes import Node
from zeroflow.metadata.registry import RegistryArtifact

Told = dict[str, Any]

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"


def bom(session: Session, graph: Graph) -> Told:
    """Return the ML-BOM of every version in a graph; the same graph gives the same serial number."""
    versions = [node for node in sorted(graph.nodes) if node[0] == "model_version"]
    inputs = {node: _data_of(graph, node) for node in versions}
    data = sorted({one for found in inputs.values() for one in found})
    newest = max((int(graph.nodes[node].get("created_ms") or 0) for node in versions), default=0)
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps([versions, data]))
    return {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(newest / 1000, UTC).isoformat(timespec="seconds"),
            "tools": {"components": [{"type": "application", "name": "zeroflow", "version": __version__}]},
        },
        "components": [
            *(_model(session, graph, node, inputs[node]) for node in versions),
            *(_data(node, graph.nodes[node]) for node in data),
        ],
        "dependencies": [
            *({"ref": _ref(node), "dependsOn": [_ref(one) for one in inputs[node]]} for node in versions),
            *({"ref": _ref(node)} for node in data),
        ],
    }


def _model(session: Session, graph: Graph, node: Node, data: list[Node]) -> Told:
    told = graph.nodes[node]
    below = session.scalars(
        select(RegistryArtifact).where(RegistryArtifact.parent_id == int(node[1])).order_by(RegistryArtifact.id)
    ).all()
    models = [one for one in below if one.kind == MODEL_ARTIFACT.kind]
    properties = dict(told.get("properties") or {})
    component: Told = {
        "type": "machine-learning-model",
        "bom-ref": _ref(node),
        "name": str(told.get("registered_model") or node[1]),
        "version": str(told.get("version") or ""),
    }
    if told.get("description"):
        component["description"] = told["description"]
    if told.get("author"):
        component["authors"] = [{"name": told["author"]}]
    hashes = [{"alg": "SHA-256", "content": sha256} for one in models if (sha256 := registration.sha256_of(one))]
    if hashes:
        component["hashes"] = hashes
    references = [{"type": "distribution", "url": one.uri} for one in models if one.uri]
    if repository := properties.get("code.repository"):
        references.append({"type": "vcs", "url": str(repository), "comment": f"commit {properties.get('code.commit')}"})
    if references:
        component["externalReferences"] = references
    component["modelCard"] = _card(below, properties, data)
    makers = [
        f"{one[0]}:{one[1]}" for one in sorted(_behind(graph, node)) if one[0] not in ("artifact", "model_version")
    ]
    told_too = [*properties.items(), *(("made_by", maker) for maker in makers)]
    told_too += [(f"parameter.{one.name}", one.fields.get("value")) for one in below if one.kind == PARAMETER.kind]
    told_too += [("format", one.fields["modelFormatName"]) for one in models if one.fields.get("modelFormatName")]
    component["properties"] = [
        {"name": f"zeroflow:{name}", "value": str(value)} for name, value in told_too if value is not None
    ]
    return component


def _card(below: Iterable[RegistryArtifact], properties: Mapping[str, Any], data: list[Node]) -> Told:
    metrics = [
        {"type": one.name, "value": str(one.fields["value"])}
        for one in below
        if one.kind == METRIC.kind and one.fields.get("value") is not None
    ]
    parameters: Told = {"datasets": [{"ref": _ref(one)} for one in data]} if data else {}
    for side in ("inputs", "outputs"):
        formats = [{"format": text} for text in _tensors(properties.get(f"signature.{side}"))]
        if formats:
            parameters[side] = formats
    card: Told = {}
    if parameters:
        card["modelParameters"] = parameters
    if metrics:
        card["quantitativeAnalysis"] = {"performanceMetrics": metrics}
    return card


def _data(node: Node, told: Mapping[str, Any]) -> Told:
    component: Told = {
        "type": "data",
        "bom-ref": _ref(node),
        "name": str(told.get("name") or node[1]),
        "data": [{"type": "dataset", "name": str(told.get("name") or node[1])}],
    }
    if told.get("sha256"):
        component["hashes"] = [{"alg": "SHA-256", "content": told["sha256"]}]
        component["version"] = told["sha256"][:12]
    if told.get("uri"):
        component["data"][0]["contents"] = {"url": told["uri"]}
    return component


def _data_of(graph: Graph, version: Node) -> list[Node]:
    """Return the artifacts behind a version that are not the model itself."""
    own = {edge.tail for edge in graph.edges if edge.head == version and edge.kind == "registered_as"}
    return sorted(node for node in _behind(graph, version) if node[0] == "artifact" and node not in own)


def _behind(graph: Graph, node: Node) -> set[Node]:
    found, waiting = set[Node](), [node]
    while waiting:
        head = waiting.pop()
        tails = {edge.tail for edge in graph.edges if edge.head == head} - found
        found |= tails
        waiting += tails
    return found & graph.nodes.keys()


def _tensors(written: Any) -> list[str]:
    try:
        tensors = json.loads(written) if isinstance(written, str) else []
        return [f"{one.get('name', '')} {one.get('datatype', '')} {one.get('shape', '')}".strip() for one in tensors]
    except (ValueError, AttributeError, TypeError):
        return []


def _ref(node: Node) -> str:
    return ":".join(node)
