"""The audit trail's routes, below /api/model_registry/zeroflow.

GET  /audit?since_ms&until_ms&entity=TYPE/ID&after&limit     one JSON record per line, oldest first
GET  /audit/verify[?expect=SEQ:HASH]
GET  /audit/uses?version=ID                                  predictions by revision and caller
POST /audit/prune {"until": "SEQ:HASH"}                      delete up to a record that was archived
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

from flask import Response, request, stream_with_context

from zeroflow.errors import Forbidden, InvalidInput
from zeroflow.events import FunctionApp
from zeroflow.functions.register import lookup, uses
from zeroflow.functions.register.anchors import Anchors
from zeroflow.functions.register.answers import as_json, body
from zeroflow.functions.register.documents import read_id
from zeroflow.functions.register.identity import Identify
from zeroflow.functions.register.policy import PolicyFile
from zeroflow.metadata import audit
from zeroflow.metadata.audit import Mark

LINES = "application/x-ndjson"
_MARK = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})\Z")


def routes(
    app: FunctionApp, policy: PolicyFile, identify: Identify, anchors: Anchors
) -> list[tuple[str, str, Callable[..., Response]]]:
    """Return (path, method, view) of each operation."""

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
        _seal()

        def lines() -> Iterator[str]:
            with app.database.reading() as session:
                for record in audit.read(session, **wanted):
                    yield f'{{"hash":"{record.hash}",{record.record[1:]}\n'

        return Response(stream_with_context(lines()), content_type=LINES)

    def verify() -> Response:
        asked = request.args.get("expect")
        expected = [_mark("expect", asked)] if asked else []
        _seal()
        with app.database.reading() as session:
            verdict = audit.verify(session, [*anchors.kept(), *expected])
            base = session.get(audit.AuditBase, 1)
        ok = verdict.broken_seq is None
        if ok and verdict.head_seq:
            anchors.keep((verdict.head_seq, verdict.head_hash))
        return as_json(
            {
                "ok": ok,
                "records": verdict.records,
                "head": f"{verdict.head_seq}:{verdict.head_hash}" if ok else None,
                "base": f"{base.seq}:{base.hash}" if base else None,
                "brokenRecord": verdict.broken_seq,
                "reason": verdict.reason,
            }
        )

    def prune() -> Response:
        given = body()
        until = given.get("until")
        if not isinstance(until, str) or set(given) != {"until"}:
            raise InvalidInput('the body must be {"until": "SEQ:HASH"}: the last record that was archived')
        known = policy.now()
        origin = identify(request.headers.get, request.remote_addr, known)
        if known.identities and not origin.authenticated:
            raise Forbidden("who is asking? Send the bearer token of an identity that the approval policy names")
        if known.auditors and origin.actor.removeprefix("user:") not in known.auditors:
            raise Forbidden(
                f"{origin.actor} may not prune the audit trail; the policy names {', '.join(known.auditors)}"
            )
        with app.transaction() as tx:
            audit.prune(tx.session, origin, _mark("until", until))
        return as_json({"base": until})

    def counted() -> Response:
        number = read_id(request.args.get("version", ""), "model version")
        with app.database.reading() as session:
            lookup.get_version(session, number)
            return as_json({"items": uses.totals(session, str(number))})

    def _seal() -> None:
        with app.database.reading() as session:
            if not uses.waits(session):
                return
        with app.transaction() as tx:
            uses.seal(tx.session)

    return [
        ("/audit", "GET", export),
        ("/audit/verify", "GET", verify),
        ("/audit/uses", "GET", counted),
        ("/audit/prune", "POST", prune),
    ]


def _mark(name: str, given: str) -> Mark:
    match = _MARK.match(given)
    if match is None:
        raise InvalidInput(f"{name} must be SEQ:HASH as a verification gave it, got {given[:90]!r}")
    return int(match[1]), match[2]


def _number(name: str) -> int | None:
    given = request.args.get(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise InvalidInput(f"{name} must be a whole number, got {given[:40]!r}")
    return int(given)
