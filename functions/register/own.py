"""Routes where the contract has none: the lineage graph and the audit trail, below /api/model_registry/zeroflow.

GET /lineage?of=URI|NAME[&direction=upstream|downstream]
GET /audit?since_ms&until_ms&entity=TYPE/ID&after&limit     one JSON record per line, oldest first
GET /audit/verify[?expect=SEQ:HASH]
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request, stream_with_context

from zeroflow.errors import InvalidInput
from zeroflow.events import FunctionApp
from zeroflow.functions.register import graph, nodes
from zeroflow.functions.register.answers import as_json
from zeroflow.functions.register.graph import Graph
from zeroflow.metadata import audit

DIRECTIONS = ("upstream", "downstream")
LINES = "application/x-ndjson"
_EXPECTED = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")


def routes(app: FunctionApp) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return (path, method, view) of each operation."""

    def lineage() -> Response:
        asked, direction = request.args.get("of", ""), request.args.get("direction")
        if not asked:
            raise InvalidInput("of must name an artifact's URI, a model, a version, a run or an InferenceService")
        if direction not in (None, *DIRECTIONS):
            raise InvalidInput(f"direction must be one of {', '.join(DIRECTIONS)}, got {direction[:40]!r}")
        with app.database.reading() as session:
            graphs = [
                graph.walk(session, start, upstream=direction != "downstream", downstream=direction != "upstream")
                for start in nodes.find(session, asked)
            ]
        return as_json(_document(asked, graphs))

    def export() -> Response:
        entity = request.args.get("entity")
        if entity is not None and "/" not in entity:
            raise InvalidInput(f"entity must be TYPE/ID such as model_version/12, got {entity[:40]!r}")
        kind, _, number = (entity or "").partition("/")
        wanted: dict[str, Any] = {
            "since_ms": _number("since_ms"),
            "until_ms": _number("until_ms"),
            "entity": (kind, number) if entity else None,
            "after_seq": _number("after") or 0,
            "limit": _number("limit"),
        }

        def lines() -> Iterator[str]:
            with app.database.reading() as session:
                for record in audit.read(session, **wanted):
                    yield f'{{"hash":"{record.hash}",{record.record[1:]}\n'

        return Response(stream_with_context(lines()), content_type=LINES)

    def verify() -> Response:
        expected = request.args.get("expect")
        match = _EXPECTED.match(expected) if expected else None
        if expected and match is None:
            raise InvalidInput(f"expect must be SEQ:HASH as an earlier verification gave it, got {expected[:90]!r}")
        with app.database.reading() as session:
            verdict = audit.verify(session, (int(match[1]), match[2]) if match else None)
        return as_json(
            {
                "ok": verdict.broken_seq is None,
                "records": verdict.records,
                "head": f"{verdict.records}:{verdict.head_hash}" if verdict.broken_seq is None else None,
                "brokenRecord": verdict.broken_seq,
                "reason": verdict.reason,
            }
        )

    return [
        ("/lineage", "GET", lineage),
        ("/audit", "GET", export),
        ("/audit/verify", "GET", verify),
    ]


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


def _number(name: str) -> int | None:
    given = request.args.get(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise InvalidInput(f"{name} must be a whole number, got {given[:40]!r}")
    return int(given)
