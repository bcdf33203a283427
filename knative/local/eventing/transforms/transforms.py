"""EventTransforms: an event is rewritten by the function `transform`, then answered, or sent to a sink.

Without a sink the answer is what the expression made of the event: a broker takes it as the reply. With one, the sink's
answer is: as it came, rewritten by `reply.jsonata`, or without its body (`discard`). All of it is one attempt of
whoever sent the event; nothing is kept here. What is not a CloudEvent may be posted as well, and come out.
Guarantees: expressions run in a process of their own, never in this one; no transform can make an event of the
platform's types.
Source: knative.dev/eventing EventTransform; eventing-integrations transform-jsonata (codes, content types).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

import orjson
from aiohttp import web

from zeroflow.knative.local.api.errors import ApiError
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing import destinations
from zeroflow.knative.local.eventing.cloudevent import STRUCTURED_MEDIA, Event, from_http, is_event, to_json
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery import DEFAULT_TIMEOUT_S
from zeroflow.knative.local.eventing.destinations import EVENT_TRANSFORM, Reference, Resolver, ToService, ToUri
from zeroflow.knative.local.eventing.errors import InvalidEvent, NoAnswer, TransformNotFound, Unresolved
from zeroflow.knative.local.eventing.ingress import PLATFORM_PREFIX, passed_headers, read_body, refusal
from zeroflow.knative.local.eventing.outside import Reply, lowered
from zeroflow.knative.local.eventing.poster import Poster
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.urls import Urls

logger = logging.getLogger(__name__)

FUNCTION = ToService("zeroflow", "transform")
EVALUATION_TIMEOUT_S = 30.0
CHECK_AGAIN_S = (1.0, 2.0, 5.0, 15.0, 60.0)
MOST_IN_A_ROW = 16
_ALLOW = {"Allow": "POST, OPTIONS"}
_CONDITIONS = ("TransformationReady", "Addressable", "EventPoliciesReady")
_in_a_row: ContextVar[int] = ContextVar("transforms in a row", default=0)


class Transforms:
    """Serves EventTransforms and reconciles them."""

    def __init__(
        self, store: Store, resolver: Resolver, status: StatusWriter, urls: Urls, poster: Poster, max_event_bytes: int
    ) -> None:
        self._store, self._resolver, self._status, self._urls = store, resolver, status, urls
        self._poster, self._max_event_bytes = poster, max_event_bytes
        self._checks: dict[str, asyncio.Task[None]] = {}
        self._verdicts: dict[str, str] = {}
        """Of each expression that the function has read: what is wrong with it, "" for nothing."""

    # serving

    async def handle(self, request: web.Request, namespace: str, name: str) -> web.Response:
        """Answer one request to /<namespace>/<transform>."""
        if request.method != "POST":
            return refusal(405, f"{request.method} is not allowed: POST an event", _ALLOW)
        try:
            body = await read_body(request, self._max_event_bytes)
            document = _document(dict(request.headers), body)
            passed = passed_headers(request.headers.items())
            reply = await self._rewrite(namespace, name, document, passed, DEFAULT_TIMEOUT_S)
        except TransformNotFound as error:
            return refusal(404, str(error))
        except NoAnswer as error:
            return refusal(502, str(error))
        return web.Response(status=reply.status, headers=_forwarded(reply.headers), body=reply.body)

    async def transform(
        self, namespace: str, name: str, event: Event, headers: Mapping[str, str], timeout_s: float
    ) -> Reply:
        """Rewrite an event and return the answer; raise TransformNotFound and NoAnswer."""
        return await self._rewrite(namespace, name, orjson.loads(to_json(event)), headers, timeout_s)

    async def _rewrite(
        self, namespace: str, name: str, document: Any, passed: Mapping[str, str], timeout_s: float
    ) -> Reply:
        found = self._store.find(EVENT_TRANSFORM, namespace, name)
        if found is None:
            raise TransformNotFound(namespace, name)
        if _in_a_row.get() >= MOST_IN_A_ROW:
            return _failed(508, f"{MOST_IN_A_ROW} transforms in a row: they go in circles")
        token = _in_a_row.set(_in_a_row.get() + 1)
        try:
            return await self._rewritten(found["spec"], namespace, document, passed, timeout_s)
        finally:
            _in_a_row.reset(token)

    async def _rewritten(
        self, spec: Object, namespace: str, document: Any, passed: Mapping[str, str], timeout_s: float
    ) -> Reply:
        made = await self._evaluate(spec["jsonata"]["expression"], document)
        if made.status != 200 or not spec.get("sink"):
            return made
        try:
            target = self._resolver.resolve(spec["sink"], namespace).target
        except Unresolved as error:
            return _failed(503, str(error))
        own = {"Kn-Namespace": namespace, "Prefer": "reply"}
        if isinstance(target, ToService | ToUri):
            answer = await self._poster.post(target, {**made.headers, **passed, **own}, made.body, timeout_s)
        else:
            try:
                event = from_http(made.headers.items(), made.body)
            except InvalidEvent as error:
                return _failed(400, f"the expression made no CloudEvent, which the sink needs: {error}")
            answer = await self._poster.send(target, event, passed, own, timeout_s)
        reply = spec.get("reply") or {}
        if reply.get("discard"):
            return Reply(answer.status, {})
        if reply.get("jsonata") and 200 <= answer.status < 300 and answer.body:
            again = await self._evaluate(reply["jsonata"]["expression"], _document(answer.headers, answer.body))
            return again if again.status != 200 else Reply(answer.status, again.headers, again.body)
        return Reply(answer.status, _forwarded(answer.headers), answer.body)

    async def _evaluate(self, expression: str, document: Any) -> Reply:
        """Return what an expression makes of a document, as a message; an error as the answer that tells of it."""
        body = orjson.dumps({"expression": expression, "input": document})
        answer = await self._poster.post(FUNCTION, {"content-type": "application/json"}, body, EVALUATION_TIMEOUT_S)
        if answer.status != 200:
            return _failed(500, _said(answer))
        made = orjson.loads(answer.body)["output"]
        if isinstance(made, dict) and str(made.get("type", "")).startswith(PLATFORM_PREFIX):
            return _failed(403, f"events of type {made['type']!r} are published by the platform only")
        return Reply(200, {"content-type": _content_type(made)}, orjson.dumps(made))

    # reconciling

    async def changed(self, transform: Object) -> None:
        """Write the status; whether the expressions can be read is told by the function, when it has looked."""
        metadata, uid = transform["metadata"], transform["metadata"]["uid"]
        conditions = Conditions(_CONDITIONS)
        conditions.true("Addressable")
        conditions.true("EventPoliciesReady", "EventPoliciesSkipped", 'feature "authentication-oidc" is disabled')
        sink_uri = None
        try:
            if sink := transform["spec"].get("sink"):
                sink_uri = self._resolver.resolve(sink, metadata["namespace"]).uri
        except Unresolved as error:
            conditions.false("TransformationReady", error.why, str(error))
        else:
            known = self._known(transform)
            if known is None:
                message = "the function that evaluates it has not looked at it yet"
                conditions.unknown("TransformationReady", "JsonataDeploymentUnavailable", message)
                if uid not in self._checks:
                    check = asyncio.get_running_loop().create_task(self._check(transform))
                    self._checks[uid] = check
                    check.add_done_callback(lambda _: self._checks.pop(uid, None))
            elif known:
                conditions.false("TransformationReady", "JsonataExpressionInvalid", known)
            else:
                conditions.true("TransformationReady")
        address = {"name": "http", "url": self._urls.transform(metadata["namespace"], metadata["name"])}
        await self._status.write(conditions.written(transform, {"address": address, "sinkUri": sink_uri}))

    async def deleted(self, transform: Object) -> None:
        """Nothing is kept."""

    def references(self, transform: Object) -> set[Reference]:
        """Return the sink."""
        return destinations.references(transform["metadata"]["namespace"], transform["spec"].get("sink"))

    async def close(self) -> None:
        """Stop looking at expressions."""
        for check in list(self._checks.values()):
            check.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await check

    def _known(self, transform: Object) -> str | None:
        """Return what is wrong with the expressions, "" for nothing, None when nobody has looked."""
        verdicts = [self._verdicts.get(each) for each in _expressions(transform)]
        if None not in verdicts:
            return next(filter(None, verdicts), "")
        status = transform.get("status") or {}
        if status.get("observedGeneration") != transform["metadata"].get("generation"):
            return None
        for condition in status.get("conditions") or ():  # found by an earlier host
            if condition["type"] == "TransformationReady" and condition["status"] == "True":
                return ""
        return None

    async def _check(self, transform: Object) -> None:
        """Have the function read the expressions, then write the status."""
        namespace, name = transform["metadata"]["namespace"], transform["metadata"]["name"]
        found: Object | None = transform
        for pause_s in CHECK_AGAIN_S:
            try:
                while found is not None and self._known(found) is None:
                    for expression in _expressions(found):
                        await self._look_at(expression)
                    found = self._store.find(EVENT_TRANSFORM, namespace, name)
            except (NoAnswer, OSError, RuntimeError) as error:
                logger.warning("expression not looked at: transform=%s/%s error=%s", namespace, name, error)
                await asyncio.sleep(pause_s)
                continue
            break
        if found is not None:
            found["metadata"].pop("resourceVersion")  # whoever wrote meanwhile did not know what is known now
            with contextlib.suppress(ApiError):
                await self.changed(found)

    async def _look_at(self, expression: str) -> None:
        body = orjson.dumps({"expression": expression})
        answer = await self._poster.post(FUNCTION, {"content-type": "application/json"}, body, EVALUATION_TIMEOUT_S)
        if answer.status >= 500:
            raise NoAnswer(_said(answer))
        self._verdicts[expression] = "" if answer.status == 200 else _said(answer)


def _expressions(transform: Object) -> list[str]:
    spec = transform["spec"]
    given = (spec["jsonata"], (spec.get("reply") or {}).get("jsonata"))
    return [each["expression"] for each in given if each]


def _document(headers: Mapping[str, str], body: bytes) -> Any:
    """Return a message as JSON: an event in structured form, other JSON as it is, anything else as text."""
    looked_up = lowered(headers)
    if is_event(looked_up):
        with contextlib.suppress(InvalidEvent):
            return orjson.loads(to_json(from_http(looked_up.items(), body)))
    try:
        return orjson.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _content_type(made: Any) -> str:
    if isinstance(made, dict):
        if made.get("contenttype"):
            return str(made["contenttype"])
        if "specversion" in made:
            return STRUCTURED_MEDIA
    return "application/json"


def _forwarded(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what an answer's reader needs to know of it: whether it is an event, and why it was refused."""
    kept = ("content-type", "reason", "retry-after")
    return {name: value for name, value in lowered(headers).items() if name in kept or name.startswith("ce-")}


def _said(answer: Reply) -> str:
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(orjson.loads(answer.body)["error"])
    return f"the function that evaluates it answered {answer.status}: {answer.body[:300].decode('utf-8', 'replace')}"


def _failed(status: int, why: str) -> Reply:
    reason = " ".join(why.split())[:500].encode("ascii", "replace").decode()
    return Reply(status, {"reason": reason, "content-type": "text/plain"}, why.encode())
