"""What func-python puts between HTTP and a function instance: health paths, CloudEvents, answers for failures.

It answers as func-python 0.8.1 does, except where that release cannot have meant what it does:

* a failed `handle` of an http function gets the whole text `Error: <e>` (func-python cuts it off after the head);
* a ValueError of a cloudevent function's `handle` is reported with its own message (func-python: with one of its own
  code, as it takes the error for a request that is no event);
* a body that the SDK cannot read as an event at all, such as a JSON array, is refused with 400 (func-python: 500, which
  a broker would retry);
* a failed `alive` or `ready` of a cloudevent function gets `Error: <e>`, as of an http function.

Source: Knative Functions, func-python 0.8.1 (http.py and cloudevent.py; CloudEvents SDK 2.x).
"""

import logging
from typing import TYPE_CHECKING, Any

from zeroflow.instance.exchange import Exchange, Message, Scope
from zeroflow.instance.project import Instance

if TYPE_CHECKING:
    from cloudevents.core.base import BaseCloudEvent
    from cloudevents.core.bindings.http import HTTPMessage

logger = logging.getLogger(__name__)

HEALTH = {"/health/liveness": "alive", "/health/readiness": "ready"}
REFUSAL = b"Bad Request: This endpoint expects CloudEvent requests. "


class HttpMiddleware:
    """Any path and method but the health paths goes to `handle(scope, receive, send)` as it is."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance

    async def __call__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        method = HEALTH.get(scope["path"])
        try:
            if method:
                healthy, message = _verdict(self.instance, method)
                await _text(exchange, 200 if healthy else 500, message.encode())
            else:
                await self.handle(scope, exchange)
        except (Exception, SystemExit) as error:
            logger.exception("%s %s failed", scope["method"], scope["path"])
            if exchange.take_back():
                await (self.fail(exchange, error) if method is None else HttpMiddleware.fail(self, exchange, error))

    async def handle(self, scope: Scope, exchange: Exchange) -> None:
        """Call the function."""
        await self.instance.handle(scope, exchange.receive, exchange.send)

    async def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Answer for a function that raised."""
        await _text(exchange, 500, f"Error: {error}".encode())


class CloudEventMiddleware(HttpMiddleware):
    """Any path and method but the health paths takes an event, in binary or structured mode: `scope["event"]`."""

    async def handle(self, scope: Scope, exchange: Exchange) -> None:
        """Call the function with the request's event, or refuse a request that is none."""
        body = await _body(exchange)
        if body is None:
            return  # the client went away in the middle of it; half an event must not be handled
        event = _event_of(scope, body)
        if event is None:
            logger.warning("%s %s is no CloudEvent: refused", scope["method"], scope["path"])
            await _text(exchange, 400, REFUSAL)
            return
        scope["event"] = event
        await self.instance.handle(scope, exchange.receive, EventSender(exchange))

    async def fail(self, exchange: Exchange, error: BaseException) -> None:
        """Answer for a function that raised with an event that says so."""
        from cloudevents.core.v1.event import CloudEvent

        attributes = {"type": "dev.functions.error", "source": "/cloudevent/error"}
        await EventSender(exchange).structured(CloudEvent(attributes, {"message": f"Error: {error}"}), 500)


class EventSender:
    """The `send` of a cloudevent function: `await send(event)`, or one of the modes by name."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __call__(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with an event in structured mode."""
        await self.structured(event, status)

    async def structured(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with an event as one JSON document."""
        from cloudevents.core.bindings.http import to_structured_event

        await self._answer(to_structured_event(event), status)

    async def binary(self, event: "BaseCloudEvent", status: int = 200) -> None:
        """Answer with an event's attributes in headers and its data as the body."""
        from cloudevents.core.bindings.http import to_binary_event

        await self._answer(to_binary_event(event), status)

    async def http(self, message: Message) -> None:
        """Send a plain ASGI message."""
        await self._exchange.send(message)

    async def _answer(self, message: "HTTPMessage", status: int) -> None:
        headers = [(name.encode(), value.encode()) for name, value in message.headers.items()]
        headers.append((b"content-length", str(len(message.body)).encode()))
        await _send(self._exchange, status, headers, message.body)


def _event_of(scope: Scope, body: bytes) -> "BaseCloudEvent | None":
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cloudevents.core.exceptions import CloudEventValidationError

    try:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        return from_http_event(HTTPMessage(headers=headers, body=body))
    except (CloudEventValidationError, ValueError, KeyError, TypeError, AttributeError):
        return None


async def _body(exchange: Exchange) -> bytes | None:
    body = bytearray()
    while (message := await exchange.receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            return bytes(body)
    return None


def _verdict(instance: Instance, method: str) -> tuple[bool, str]:
    result: Any = getattr(instance, method)() if hasattr(instance, method) else True
    verdict, message = result if isinstance(result, tuple) else (result, "OK")
    return bool(verdict), f"{message}"


async def _text(exchange: Exchange, status: int, text: bytes) -> None:
    await _send(exchange, status, [(b"content-type", b"text/plain")], text)


async def _send(exchange: Exchange, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await exchange.send({"type": "http.response.start", "status": status, "headers": headers})
    await exchange.send({"type": "http.response.body", "body": body})
