"""Sends one event, or other bytes, to a target of any kind and returns the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from zeroflow.knative.local.eventing.cloudevent import Event, to_http
from zeroflow.knative.local.eventing.delivery import Answer
from zeroflow.knative.local.eventing.destinations import (
    Target,
    ToBroker,
    ToChannel,
    ToJobSink,
    ToService,
    ToTransform,
    ToUri,
)
from zeroflow.knative.local.eventing.errors import NoAnswer
from zeroflow.knative.local.eventing.outside import OutsideClient, Reply, lowered


class Subscribers(Protocol):
    """Posts to Services of this host: serving's activator. Any exception means that no answer came."""

    async def post(
        self, namespace: str, name: str, path: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        """Post to a Service, waking it when it sleeps, and return its whole answer."""
        ...


class Receivers(Protocol):
    """The receivers inside this process (`rooms.Rooms`)."""

    async def hand(
        self,
        target: ToBroker | ToChannel | ToJobSink | ToTransform,
        event: Event,
        ttl: int | None,
        headers: Mapping[str, str],
        timeout_s: float,
    ) -> Reply:
        """Hand an event to one of them."""
        ...


class Poster:
    """Knows the way to Services, to receivers of this process, and outside."""

    def __init__(self, subscribers: Subscribers, outside: OutsideClient) -> None:
        self._subscribers, self._outside = subscribers, outside
        self.receivers: Receivers | None = None
        """Set once they exist: some of them post as well."""

    async def send(
        self,
        target: Target,
        event: Event,
        passed: Mapping[str, str],
        own: Mapping[str, str],
        timeout_s: float,
        *,
        structured: bool | None = None,
        ttl: int | None = None,
    ) -> Reply:
        """Send an event; raise NoAnswer. `passed`: headers that came with it, `own`: those of this hop alone."""
        match target:
            case ToService() | ToUri():
                headers, body = to_http(event, structured=structured)
                return await self.post(target, {**headers, **passed, **own}, body, timeout_s)
            case _:
                assert self.receivers is not None
                return await self.receivers.hand(target, event, ttl, passed, timeout_s)

    async def post(self, target: ToService | ToUri, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        """Post bytes as they are; raise NoAnswer."""
        if isinstance(target, ToUri):
            return await self._outside.post(target.uri, headers, body, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._subscribers.post(
                    target.namespace, target.name, target.path, headers, body, timeout_s
                )
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {timeout_s:g} s") from error
        return Reply(answer.status, lowered(answer.headers), answer.body)
