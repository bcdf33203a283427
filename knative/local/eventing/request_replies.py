"""RequestReplies: a POST that is answered by an event, which somebody sends to the broker later.

The event goes to the broker with an identity of this request (`correlationAttribute`); the first event that the broker
then gets with the same identity in `replyAttribute`, as a subscriber's reply or from anywhere, is the answer.
Guarantees: both events are the broker's as any others, durable and delivered to its triggers; an identity cannot be
guessed. Who waits is known in memory alone, since the connection goes with the host; who gets no answer in time is told
so (504).
Source: knative.dev/eventing RequestReply v1alpha1 (pkg/requestreply, validation, condition set).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.eventing.cloudevent import Event, to_http
from zeroflow.knative.local.eventing.conditions import Conditions
from zeroflow.knative.local.eventing.delivery import duration_s
from zeroflow.knative.local.eventing.delivery_spec import default_delivery
from zeroflow.knative.local.eventing.destinations import BROKER, Reference
from zeroflow.knative.local.eventing.errors import InvalidSpec, RequestReplyNotFound
from zeroflow.knative.local.eventing.ingress import Ingress, refusal
from zeroflow.knative.local.eventing.status import StatusWriter
from zeroflow.knative.local.urls import Urls

REQUEST_REPLY: Final = "RequestReply.eventing.knative.dev"
MOST_WAITING: Final = 10_000
_DEFAULTS: Final = {"correlationAttribute": "correlationid", "replyAttribute": "replyid", "timeout": "PT30S"}
_CORE: Final = frozenset({"id", "source", "specversion", "type"})
_ATTRIBUTE: Final = re.compile("[a-z0-9]+")
_CONDITIONS: Final = ("IngressReady", "TriggersReady", "Addressable", "EventPoliciesReady")


def check_request_reply(new: Object, old: Object | None) -> Object:
    """Fill in the defaults; check the broker, the attributes and the timeout."""
    spec = new["spec"] = _DEFAULTS | (new.get("spec") or {})
    broker = spec.get("brokerRef") or {}
    if missing := [f"spec.brokerRef.{field}" for field in ("apiVersion", "kind", "name") if not broker.get(field)]:
        raise InvalidSpec(", ".join(missing), "missing")
    if broker["kind"].lower() != "broker":
        raise InvalidSpec("spec.brokerRef.kind", f"invalid value: {broker['kind']}: brokerRef kind must be Broker")
    if broker.get("namespace"):
        raise InvalidSpec("spec.brokerRef.namespace", "must not set the field(s)")
    for field in ("correlationAttribute", "replyAttribute"):
        if spec[field] in _CORE or not _ATTRIBUTE.fullmatch(spec[field]):
            why = "must be non-empty and cannot be a core cloudevent attribute (id, type, specversion, source)"
            raise InvalidSpec(f"spec.{field.lower()}", f"invalid value: {spec[field]}: {field.lower()} {why}")
    if duration_s(spec["timeout"], "spec.timeout") <= 0:
        raise InvalidSpec("spec.timeout", f"invalid value: {spec['timeout']}")
    default_delivery(spec, new["metadata"].get("namespace", ""))
    return new


@dataclass(frozen=True, slots=True)
class _Waiting:
    namespace: str
    broker: str
    attribute: str
    answer: asyncio.Future[Event | None]


class RequestReplies:
    """Serves RequestReplies and reconciles them."""

    def __init__(self, store: Store, ingress: Ingress, status: StatusWriter, urls: Urls) -> None:
        self._store, self._ingress, self._status, self._urls = store, ingress, status, urls
        self._waiting: dict[str, _Waiting] = {}
        ingress.listeners.append(self._arrived)

    async def handle(self, request: web.Request, namespace: str, name: str) -> web.Response:
        """Answer one request to /<namespace>/<request reply>."""
        found = self._store.find(REQUEST_REPLY, namespace, name)
        spec = found["spec"] if found else {}
        if len(self._waiting) >= MOST_WAITING:
            return refusal(503, f"{MOST_WAITING} requests wait for their replies", {"Retry-After": "1"})
        identity, answer = "", asyncio.get_running_loop().create_future()

        async def take(event: Event, headers: Mapping[str, str]) -> None:
            nonlocal identity
            broker, identity = spec["brokerRef"]["name"], f"{event.id}:{secrets.token_urlsafe(24)}"
            self._waiting[identity] = _Waiting(namespace, broker, spec["replyAttribute"], answer)
            marked = event.extended({spec["correlationAttribute"]: identity})
            await self._ingress.accept(namespace, broker, marked, None, headers)

        try:
            missing = None if found else RequestReplyNotFound(namespace, name)
            taken = await self._ingress.receive(request, take, missing)
            if taken.status != 202:
                return taken
            async with asyncio.timeout(duration_s(spec["timeout"], "spec.timeout")):
                reply = await answer
        except TimeoutError:
            return refusal(504, f"no event with {spec['replyAttribute']} {identity!r} came within {spec['timeout']}")
        finally:
            self._waiting.pop(identity, None)
        if reply is None:
            return refusal(503, "the host is stopping", {"Retry-After": "1"})
        headers, body = to_http(reply, structured=False)
        return web.Response(status=200, headers=headers, body=body)

    def close(self) -> None:
        """Tell all who wait that nothing comes any more."""
        for waiting in self._waiting.values():
            if not waiting.answer.done():
                waiting.answer.set_result(None)

    def _arrived(self, namespace: str, broker: str, event: Event) -> None:
        """Look whether a broker's new event is an answer; a second one to the same request is none."""
        if not self._waiting:
            return
        for name, value in event.attributes.items():
            found = self._waiting.get(value) if isinstance(value, str) else None
            if found is None or found.answer.done():
                continue
            if (found.namespace, found.broker, found.attribute) == (namespace, broker, name):
                found.answer.set_result(event)

    async def changed(self, request_reply: Object) -> None:
        """Write the address and the conditions."""
        conditions = Conditions(_CONDITIONS)
        namespace, name = request_reply["metadata"]["namespace"], request_reply["metadata"]["name"]
        for condition in ("IngressReady", "Addressable"):
            conditions.true(condition)
        conditions.true("EventPoliciesReady", "EventPoliciesSkipped", 'feature "authentication-oidc" is disabled')
        (broker,) = self.references(request_reply)
        if self._store.find(*broker) is not None:
            conditions.true("TriggersReady")
        else:
            conditions.unknown("TriggersReady", "BrokerNotFound", f'broker "{broker[2]}" not found')
        address = {"name": "http", "url": self._urls.request_reply(namespace, name)}
        fields = {"address": address, "desiredReplicas": 1, "readyReplicas": 1}
        await self._status.write(conditions.written(request_reply, fields))

    async def deleted(self, request_reply: Object) -> None:
        """Who waits for a reply still gets it."""

    def references(self, request_reply: Object) -> set[Reference]:
        """Return the broker."""
        return {(BROKER, request_reply["metadata"]["namespace"], request_reply["spec"]["brokerRef"]["name"])}
