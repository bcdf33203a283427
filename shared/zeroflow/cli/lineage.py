"""`zeroflow lineage`: what something was made from, and what came of it, as trees."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, fail
from zeroflow.errors import ZeroflowError

API = "/api/model_registry/zeroflow/lineage"
EXPORTS = ("openlineage", "cyclonedx")
VERBS = {
    "read": "read by",
    "wrote": "wrote",
    "registered_as": "registered as",
    "trained_on": "used to train",
    "reproduced": "made once more by",
    "deployed_as": "deployed as",
    "serves": "of",
    "drifted": "saw",
    "triggered": "started",
}
BACK = {
    "read": "read",
    "wrote": "written by",
    "registered_as": "registered from",
    "trained_on": "trained on",
    "reproduced": "a reproduction of",
    "deployed_as": "serves",
    "serves": "by",
    "drifted": "seen by",
    "triggered": "started by",
}
"""Edges of other kinds lead from a whole to its parts, and are told with the part."""


def lineage(
    of: Annotated[str, typer.Argument(help="A URI, MODEL, MODEL/VERSION, the id of a run or artifact, or NS/NAME.")],
    upstream: Annotated[bool, typer.Option("--upstream", help="Only what it was made from.")] = False,
    downstream: Annotated[bool, typer.Option("--downstream", help="Only what came of it.")] = False,
    output: Annotated[str, typer.Option("--output", "-o", help="tree, json, openlineage or cyclonedx")] = "tree",
) -> None:
    """Show what something was made from and what came of it."""
    query = {"of": of}
    if upstream != downstream:
        query["direction"] = "upstream" if upstream else "downstream"
    if output not in ("tree", "json", *EXPORTS):
        fail(f"-o must be tree, json, {' or '.join(EXPORTS)}, got {output!r}", 2)
    try:
        host = Host(host_url())
        if output in EXPORTS:
            typer.echo(host.text(f"{API}?{urlencode({**query, 'format': output})}").rstrip("\n"))
            return
        graph = host.json("GET", API, query=query)
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(graph)
        return
    nodes = {node["node"]: node for node in graph["nodes"]}
    for start in graph["start"]:
        typer.echo(_named(nodes.get(start, {"node": start})))
        for title, near, far, verbs in (("made from", "to", "from", BACK), ("came of it", "from", "to", VERBS)):
            lines = list(_tree(graph["edges"], nodes, start, near, far, verbs, "  ", {start}))
            if lines:
                typer.echo(f" {title}:")
                for line in lines:
                    typer.echo(line)
    if graph["truncated"]:
        typer.echo("the graph is larger than this; start nearer to what you look for", err=True)


def _tree(
    edges: list[dict[str, str]],
    nodes: Mapping[str, dict[str, Any]],
    start: str,
    near: str,
    far: str,
    verbs: Mapping[str, str],
    indent: str,
    shown: set[str],
) -> Iterator[str]:
    for edge in edges:
        if edge[near] != start or edge["kind"] not in verbs:
            continue
        node = edge[far]
        again = node in shown
        line = f"{indent}{verbs[edge['kind']]} {_named(nodes.get(node, {'node': node}))}"
        yield line + ("  (see above)" if again else "")
        if not again:
            shown.add(node)
            yield from _tree(edges, nodes, node, near, far, verbs, indent + "  ", shown)


def _named(node: Mapping[str, Any]) -> str:
    match node.get("type"):
        case "artifact":
            sha256 = f"  sha256 {node['sha256'][:12]}" if node.get("sha256") else ""
            return f"{node.get('artifact_type', 'artifact')} {node.get('uri') or node['id']}{sha256}"
        case "task":
            run = f" of run {node.get('run_name') or node['run_id']}" if node.get("run_id") else ""
            return f"task {node.get('name') or node['id']}{run}"
        case "model_version":
            return f"model version {node.get('name') or node['id']}"
        case "inference_service":
            return f"InferenceService {node['id']}"
        case "run":
            return f"run {node.get('name') or node['id']}"
        case "training_job":
            namespace, kind, name, _uid = node["id"].split("/")
            return f"{kind} {namespace}/{name}"
        case "trial" | "revision" | "experiment":
            return f"{node['type']} {node['id']}"
        case "drift_event":
            return f"drift event {node['id']}"
        case _:
            return str(node["node"])
