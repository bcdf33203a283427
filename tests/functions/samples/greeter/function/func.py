"""Answers an event in the mode that its type asks for."""

from datetime import UTC, datetime

from cloudevents.core.v1.event import CloudEvent


def new():
    return Greeter()


class Greeter:
    async def handle(self, scope, receive, send):
        event = scope["event"]
        kind, data = event.get_type(), event.get_data()
        attributes = {
            "id": "1",
            "source": "/greeter",
            "type": "greeted",
            "specversion": "1.0",
            "time": datetime(2026, 1, 1, tzinfo=UTC),
            "subject": str(event.get_subject()),
            "datacontenttype": "application/json",
        }
        reply = CloudEvent(attributes, {"greeting": f"hello {data}", "from": event.get_source()})
        if kind == "plain":
            await send(reply)
        elif kind == "accepted":
            await send(reply, 202)
        elif kind == "structured":
            await send.structured(reply)
        elif kind == "binary":
            await send.binary(reply, status=201)
        elif kind == "http":
            await send.http({"type": "http.response.start", "status": 418, "headers": [(b"x-kind", b"teapot")]})
            await send.http({"type": "http.response.body", "body": b"short and stout"})
        elif kind == "value-error":
            raise ValueError("no such name")
        elif kind == "key-error":
            raise KeyError("name")
