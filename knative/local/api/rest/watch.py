"""GET with watch: the changes of a collection as a stream of JSON lines.

Guarantees: no change between the given resourceVersion and the stream is missed, or the watch ends with an ERROR
event that carries 410 Expired; an object that starts or stops matching the selectors appears as ADDED or DELETED;
with allowWatchBookmarks the client learns the current version about once a minute and at the end. Source: Kubernetes
API concepts, "Efficient detection of changes", "Watch bookmarks", "Streaming lists".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Final

import orjson
from aiohttp import web

from zeroflow.knative.local.api.errors import Expired
from zeroflow.knative.local.api.objects import Object, meta
from zeroflow.knative.local.api.rest import parameters, status
from zeroflow.knative.local.api.rest.parameters import Selection
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.state import Change
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.subscriptions import Subscription
from zeroflow.knative.local.api.table import table

BACKLOG: Final = 5000  # undelivered changes before a slow watcher is told to list again
BOOKMARK_EVERY_S: Final = 60.0
LOOK_EVERY_S: Final = 30.0  # how soon a client that left an idle watch is noticed
MIN_TIMEOUT_S: Final = 1800.0  # for watches that name none; the real one is up to twice as long
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class Watch:
    """One stream to one client."""

    def __init__(self, store: Store, request: web.Request, target: Target) -> None:
        self._store = store
        self._request = request
        self._target = target
        self._selection = Selection.of(request)
        self._table = parameters.as_table(request)
        self._include = request.query.get("includeObject", "Metadata")
        self._bookmarks = parameters.flag(request, "allowWatchBookmarks")
        self._initial = parameters.flag(request, "sendInitialEvents")
        self._header_sent = False
        timeout = parameters.number(request, "timeoutSeconds")
        self._timeout_s = float(timeout) if timeout else MIN_TIMEOUT_S * (1 + random.random())  # noqa: S311 - spreads load
        self._since = parameters.version(request)
        if target.name is not None:
            self._only: str | None = target.name
        else:
            self._only = None

    async def serve(self) -> web.StreamResponse:
        """Stream until the timeout, the client leaves, or the host stops."""
        response = web.StreamResponse()
        response.headers["Content-Type"] = "application/json"
        response.enable_chunked_encoding()
        try:
            subscription = self._subscribe()
        except Expired as error:
            await response.prepare(self._request)
            await response.write(_line("ERROR", status.failure(error)))
            return response
        with_initial = subscription.pending
        async with subscription:
            await response.prepare(self._request)
            try:
                await self._stream(response, subscription, with_initial)
            except Expired as error:
                await response.write(_line("ERROR", status.failure(error)))
            except ConnectionResetError:
                pass  # the client left
        return response

    def _subscribe(self) -> Subscription:
        """Replay what is there now, unless the client knows a version to go on from."""
        key = self._target.kind.key
        if self._initial or self._since in (None, 0):
            return self._store.subscribe([key], limit=BACKLOG)
        assert self._since is not None
        if self._since > self._store.version:
            raise Expired(f"too large resource version: {self._since}, current: {self._store.version}")
        if self._store.was_before(self._since) and self._selection.narrows:
            raise Expired(f"too old resource version: {self._since}: what was selected then is not known any more")
        return self._store.subscribe([key], since=self._since, limit=BACKLOG)

    async def _stream(self, response: web.StreamResponse, subscription: Subscription, replayed: int) -> None:
        loop = asyncio.get_running_loop()
        deadline, bookmark_at = loop.time() + self._timeout_s, loop.time() + BOOKMARK_EVERY_S
        started_at = self._store.version
        if self._initial and not replayed:
            await response.write(self._bookmark(started_at, ended=True))
        async for change in _until(subscription, deadline):
            if self._request.transport is None:
                return  # the client left while nothing happened
            if change is None:
                if self._bookmarks and loop.time() >= bookmark_at:
                    await response.write(self._bookmark(self._store.version))
                    bookmark_at = loop.time() + BOOKMARK_EVERY_S
                continue
            if (line := self._seen(change)) is not None:
                await response.write(line)
            if replayed:
                replayed -= 1
                if not replayed and self._initial:
                    await response.write(self._bookmark(started_at, ended=True))
        if self._bookmarks and not subscription.pending:
            await response.write(self._bookmark(self._store.version))

    def _seen(self, change: Change) -> bytes | None:
        """Return the line that this watcher sees of a change; None when it concerns others."""
        is_in = change.type != "DELETED" and self._matches(change.object)
        was_in = change.old is not None and self._matches(change.old)
        if change.type == "DELETED":
            kind = "DELETED" if was_in else None
        elif is_in:
            kind = "MODIFIED" if was_in else "ADDED"
        else:
            kind = "DELETED" if was_in else None
        return None if kind is None else _line(kind, self._shown(change.object))

    def _matches(self, obj: Object) -> bool:
        metadata = meta(obj)
        if self._target.namespace and metadata.get("namespace") != self._target.namespace:
            return False
        if self._only is not None and metadata.get("name") != self._only:
            return False
        return self._selection.matches(obj)

    def _shown(self, obj: Object) -> Object:
        shown = self._target.shown(obj)
        if not self._table:
            return shown
        made = table(self._target.kind, self._target.version, [shown], self._include, header=not self._header_sent)
        made["metadata"] = {"resourceVersion": meta(obj).get("resourceVersion", "")}
        self._header_sent = True
        return made

    def _bookmark(self, version: int, ended: bool = False) -> bytes:
        metadata: Object = {"resourceVersion": str(version), "creationTimestamp": None}
        if ended:
            metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
        obj: Object = {"kind": self._target.kind.kind, "apiVersion": self._target.api_version, "metadata": metadata}
        if self._table:
            partial = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
            cells = table(self._target.kind, self._target.version, [], self._include, header=not self._header_sent)
            row = {"cells": [], "object": partial}
            obj = cells | {"metadata": {"resourceVersion": str(version)}, "rows": [row] if ended else []}
        return _line("BOOKMARK", obj)


async def _until(subscription: Subscription, deadline: float) -> AsyncIterator[Change | None]:
    """Yield changes until the deadline or the end; None whenever nothing came for a while."""
    loop = asyncio.get_running_loop()
    while (left := deadline - loop.time()) > 0:
        try:
            async with asyncio.timeout(min(left, LOOK_EVERY_S)):
                change = await anext(subscription)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if deadline - loop.time() > 0:
                yield None
            continue
        yield change


def _line(kind: str, obj: Object) -> bytes:
    return orjson.dumps({"type": kind, "object": obj}, option=orjson.OPT_APPEND_NEWLINE)
