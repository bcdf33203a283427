"""The lineage graph, where the contract has no route: GET /lineage below /api/model_registry/zeroflow.

GET /lineage?of=URI|NAME[&direction=upstream|downstream][&format=json|openlineage|cyclonedx]
"""

import json
from collections.abc import Callable
from typing import Any

from flask import Response, request

from zeroflow.errors import InvalidInput
from zeroflow.events import FunctionApp
from zeroflow.functions.register import graph, nodes
from zeroflow.functions.register.answers import as_json
from zeroflow.functions.register.exports import cyclonedx, openlineage
from zeroflow.functions.register.graph import Graph

FORMATS = ("json", "openlineage", "cyclonedx")
DIRECTIONS = ("upstream", "downstream")


def routes(app: FunctionApp) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return (path, method, view) of each operation."""

    def lineage() -> Response:
        asked, direction = request.args.get("of", ""), request.args.get("direction")
        if not asked:
            raise InvalidInput("of must name an artifact's URI, a model, a version, a run or an InferenceService")
        if direction not in (None, *DIRECTIONS):
            raise InvalidInput(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction[:40]!r}")
        form = request.args.get("format") or "json"
        if form not in FORMATS:
            raise InvalidInput(f"format must be one of {', '.join(FORMATS)}, got {form[:40]!r}")
        with app.database.reading() as session:
            graphs = [
                graph.walk(session, start, upstream=direction != "downstream", downstream=direction != "upstream")
                for start in nodes.find(session, asked)
            ]
            if form == "cyclonedx":
                return as_json(cyclonedx.bom(session, _whole(graphs)))
        if form == "openlineage":
            lines = (json.dumps(event, ensure_ascii=False) + "\n" for event in openlineage.events(_whole(graphs)))
            return Response("".join(lines), content_type="application/x-ndjson")
        return as_json(_document(asked, graphs))

    return [("/lineage", "GET", lineage)]


def _whole(graphs: list[Graph]) -> Graph:
    """Put graphs with several starts into one."""
    whole = Graph(graphs[0].start)
    for one in graphs:
        whole.edges |= one.edges
        whole.nodes |= one.nodes
    return whole


def _document(asked: str, graphs: list[Graph]) -> dict[str, Any]:
    known = {node: told for found in graphs for node, told in found.nodes.items()}
    edges = sorted({edge for found in graphs for edge in found.edges})
    return {
        "of": asked,
        "start": [":".join(found.start) for found in graphs],
        "nodes": [{"node": ":".join(node), **told} for node, told in known.items()],
        "edges": [{"kind": edge.kind, "from": ":".join(edge.tail), "to": ":".join(edge.head)} for edge in edges],
        "truncated": any(found.truncated for found in graphs),
    }
