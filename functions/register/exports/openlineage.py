"""The lineage graph as OpenLineage run events, one for each thing that made something.

A task, trial or training job is a run of a job; so is a registration, a deployment and the finding of drift. What lies
at a URI is a dataset of that URI's namespace, a version one of `zeroflow://models`, a revision and a drift event ones
of `zeroflow://serving` and `zeroflow://drift`. Only official facets are used.
Source: OpenLineage 2-0-2 (spec, naming, facets).
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from zeroflow.functions.register.graph import Graph
from zeroflow.functions.register.graph_nodes import Node

Event = dict[str, Any]
Facet = dict[str, Any]

SPEC = "https://openlineage.io/spec"
RUN_EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
PRODUCER = "https://zeroflow.dev/functions/register"
_FACETS = {
    "parent": "1-2-0/ParentRunFacet",
    "jobType": "2-0-4/JobTypeJobFacet",
    "sourceCodeLocation": "1-1-0/SourceCodeLocationJobFacet",
    "version": "1-0-1/DatasetVersionDatasetFacet",
    "datasetType": "1-0-1/DatasetTypeDatasetFacet",
    "dataSource": "1-0-1/DatasourceDatasetFacet",
    "tags": "1-0-0/TagsDatasetFacet",
}
_JOBS = {
    "task": "TASK",
    "trial": "TRIAL",
    "training_job": "JOB",
    "model_version": "REGISTRATION",
    "revision": "DEPLOYMENT",
    "inference_service": "DEPLOYMENT",
    "drift_event": "MONITORING",
}
_STATES = {"FAILED": "FAIL", "CANCELED": "ABORT"}
_DATA = ("artifact", "model_version", "revision", "inference_service", "drift_event")


def events(graph: Graph) -> list[Event]:
    """Return the events, oldest first; the same graph gives the same events."""
    found = [_event(graph, node) for node in graph.nodes if node[0] in _JOBS]
    return sorted((one for one in found if one), key=lambda one: (one["eventTime"], one["run"]["runId"]))


def _event(graph: Graph, node: Node) -> Event:
    """Return the event of what made something; {} for a node that nothing leads to or from."""
    kind, told = node[0], graph.nodes[node]
    inputs = [edge.tail for edge in sorted(graph.edges) if edge.head == node and edge.tail[0] in _DATA]
    outputs = [node] if kind in _DATA else []
    outputs += [edge.head for edge in sorted(graph.edges) if edge.tail == node and edge.kind == "wrote"]
    if not inputs and not outputs:
        return {}
    run: dict[str, Any] = {"runId": _uuid(node)}
    parent = next((edge.tail for edge in graph.edges if edge.head == node and edge.kind in ("contains", "tried")), None)
    if parent is not None:
        whole = graph.nodes.get(parent, {})
        job = {"namespace": _namespace(whole), "name": str(whole.get("pipeline_name") or parent[1])}
        run["facets"] = {"parent": _facet("parent", run={"runId": _uuid(parent)}, job=job)}
    properties = told.get("properties") or {}
    facets = {"jobType": _facet("jobType", processingType="BATCH", integration="ZEROFLOW", jobType=_JOBS[kind])}
    if properties.get("code.repository") and properties.get("code.commit"):
        facets["sourceCodeLocation"] = _facet(
            "sourceCodeLocation",
            type="git",
            url=str(properties["code.repository"]),
            repoUrl=str(properties["code.repository"]),
            version=str(properties["code.commit"]),
        )
    return {
        "eventType": _STATES.get(str(told.get("state")), "COMPLETE"),
        "eventTime": _time(graph, node),
        "run": run,
        "job": {"namespace": _namespace(told), "name": _job_name(node, told), "facets": facets},
        "inputs": [_dataset(one, graph.nodes.get(one, {})) for one in dict.fromkeys(inputs)],
        "outputs": [_dataset(one, graph.nodes.get(one, {})) for one in dict.fromkeys(outputs)],
        "producer": PRODUCER,
        "schemaURL": RUN_EVENT,
    }


def _dataset(node: Node, told: Mapping[str, Any]) -> dict[str, Any]:
    match node[0]:
        case "artifact":
            namespace, name = _place(str(told.get("uri") or f"zeroflow://artifacts/{node[1]}"))
            kind = "MODEL" if told.get("artifact_type") == "system.Model" else "FILE"
        case "model_version":
            namespace, name, kind = "zeroflow://models", str(told.get("name") or node[1]), "MODEL"
        case "drift_event":
            namespace, name, kind = "zeroflow://drift", node[1], "JOB_OUTPUT"
        case _:
            namespace, name, kind = "zeroflow://serving", node[1], "MODEL"
    facets = {"datasetType": _facet("datasetType", datasetType=kind)}
    properties = told.get("properties") or {}
    if sha256 := told.get("sha256") or properties.get("sha256"):
        facets["version"] = _facet("version", datasetVersion=str(sha256))
    if told.get("uri"):
        facets["dataSource"] = _facet("dataSource", name=namespace, uri=namespace)
    if properties:
        tags = [{"key": key, "value": str(value), "source": "REGISTRY"} for key, value in sorted(properties.items())]
        facets["tags"] = _facet("tags", tags=tags)
    return {"namespace": namespace, "name": name, "facets": facets}


def _facet(_name: str, /, **fields: Any) -> Facet:
    place = _FACETS[_name]
    schema = f"{SPEC}/facets/{place}.json#/$defs/{place.partition('/')[2]}"
    return {"_producer": PRODUCER, "_schemaURL": schema, **fields}


def _place(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return f"{parts.scheme or 'zeroflow'}://{parts.netloc}", parts.path.lstrip("/") or "/"


def _namespace(told: Mapping[str, Any]) -> str:
    return f"zeroflow://{told.get('namespace') or 'default'}"


def _job_name(node: Node, told: Mapping[str, Any]) -> str:
    if node[0] == "task":
        pipeline = told.get("pipeline_name")
        return f"{pipeline}.{told.get('name')}" if pipeline else str(told.get("name") or node[1])
    return f"{_JOBS[node[0]].lower()} {told.get('name') or node[1]}"


def _time(graph: Graph, node: Node) -> str:
    """Return when it was done; a node that has no time of its own is as old as the newest thing that it came from."""
    milliseconds = max(_times(graph, [node], set()), default=0)
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _times(graph: Graph, nodes: Sequence[Node], seen: set[Node]) -> Iterator[int]:
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        told = graph.nodes.get(node, {})
        own = told.get("finished_ms") or told.get("created_ms")
        if own:
            yield int(own)
        else:
            waiting += [edge.tail for edge in graph.edges if edge.head == node]


def _uuid(node: Node) -> str:
    try:
        return str(uuid.UUID(node[1]))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"zeroflow/{node[0]}/{node[1]}"))
