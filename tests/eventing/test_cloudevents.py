"""Reading and writing CloudEvents, held against the official SDK."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent

from zeroflow.knative.local.eventing.cloudevent import create, from_http, is_event, to_http
from zeroflow.knative.local.eventing.errors import InvalidEvent

REQUIRED = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s"}
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
DATA = [
    pytest.param("application/json", {"a": [1, None, "ü"]}, id="json"),
    pytest.param("text/plain", "grüße", id="text"),
    pytest.param("application/octet-stream", bytes(range(256)), id="bytes"),
]


def sdk_event(content_type: str, data: object) -> CloudEvent:
    return CloudEvent(
        {
            "id": '1 2"%',
            "type": "t.ü",
            "source": "/s",
            "subject": "a b",
            "time": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "datacontenttype": content_type,
            "ext": "€",
        },
        data,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(("content_type", "data"), DATA)
@pytest.mark.parametrize("to_message", [to_binary_event, to_structured_event], ids=["binary", "structured"])
@pytest.mark.parametrize("structured", [None, True, False], ids=["as it came", "to structured", "to binary"])
def test_what_the_sdk_writes_arrives_at_the_sdk_unchanged(
    content_type: str, data: object, to_message: object, structured: bool | None
) -> None:
    sent = sdk_event(content_type, data)
    message = to_message(sent)  # type: ignore[operator]
    headers, body = to_http(from_http(message.headers.items(), message.body), structured=structured)
    got = from_http_event(HTTPMessage({name.lower(): value for name, value in headers.items()}, body))
    assert got.get_attributes() == sent.get_attributes()
    assert got.get_data() == data


@pytest.mark.parametrize(
    "body", [b"", b"not json at all", b'{"a":1.0}', b"\x00\xff", b'{"n":12345678901234567890123}'], ids=repr
)
def test_binary_data_is_handed_on_byte_for_byte(body: bytes) -> None:
    headers, written = to_http(from_http((REQUIRED | {"Content-Type": "application/json"}).items(), body))
    assert written == body
    assert headers["Content-Type"] == "application/json"


def test_structured_data_keeps_numbers_that_do_not_fit_64_bits() -> None:
    document = b'{"specversion":"1.0","id":"1","type":"t","source":"/s","data":{"n":12345678901234567890123,"f":1e3}}'
    _, body = to_http(from_http(STRUCTURED.items(), document))
    assert json.loads(body)["data"] == {"n": 12345678901234567890123, "f": 1000.0}


def test_typed_extensions_keep_their_type_in_structured_mode() -> None:
    document = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "n": 7, "b": True, "none": None}
    event = from_http(STRUCTURED.items(), json.dumps(document).encode())
    assert event.attributes == {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "n": 7, "b": True}
    assert to_http(event, structured=False)[0]["ce-b"] == "true"


@pytest.mark.parametrize(
    ("headers", "attribute"),
    [
        ({"ce-id": ""}, "id"),
        ({"ce-type": ""}, "type"),
        ({"ce-source": ""}, "source"),
        ({"ce-specversion": "0.3"}, "specversion"),
        ({"ce-time": "yesterday"}, "time"),
        ({"ce-time": "2026-13-01T00:00:00Z"}, "time"),
        ({"ce-time": "2026-01-01T00:00:00"}, "time"),
        ({"ce-subject": ""}, "subject"),
        ({"ce-dataschema": "relative"}, "dataschema"),
        ({"ce-bad_name": "x"}, "bad_name"),
        ({"ce-bad-name": "x"}, "bad-name"),
        ({"ce-data": "x"}, "data"),
        ({"ce-datacontenttype": "text/plain"}, "datacontenttype"),
        ({"Content-Type": "nonsense"}, "datacontenttype"),
        ({"ce-ext": "%FF"}, "ext"),
    ],
    ids=str,
)
def test_a_malformed_binary_event_is_refused_naming_the_attribute(headers: dict[str, str], attribute: str) -> None:
    with pytest.raises(InvalidEvent, match=f"^{attribute}: ") as refused:
        from_http((REQUIRED | headers).items(), b"")
    assert refused.value.attribute == attribute


@pytest.mark.parametrize("missing", ["ce-id", "ce-type", "ce-source", "ce-specversion"])
def test_a_missing_required_attribute_is_named(missing: str) -> None:
    headers = {name: value for name, value in REQUIRED.items() if name != missing}
    with pytest.raises(InvalidEvent, match=rf"^{missing[3:]}: missing"):
        from_http(headers.items(), b"")


BASE = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"specversion":"1.0",', "not JSON"),
        (b"[]", "must be a JSON object"),
        (json.dumps(BASE | {"id": 7}).encode(), "^id: "),
        (json.dumps(BASE | {"ext": [1]}).encode(), "^ext: "),
        (json.dumps(BASE | {"ext": 1.5}).encode(), "^ext: "),
        (json.dumps(BASE | {"ext": 2**31}).encode(), "^ext: "),
        (json.dumps(BASE | {"data": 1, "data_base64": "AA=="}).encode(), "^data_base64: "),
        (json.dumps(BASE | {"data_base64": "%%"}).encode(), "^data_base64: "),
        (json.dumps(BASE | {"data_base64": 7}).encode(), "^data_base64: "),
        (b'{"specversion":"1.0","id":"1","type":"t","source":"/s","data":NaN}', "NaN"),
        (b'{"specversion":"1.0","id":"1","type":"t","source":"/s","data":1e999}', "^data: "),
        (b"[" * 100_000, "not JSON"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_malformed_structured_event_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(InvalidEvent, match=said):
        from_http(STRUCTURED.items(), body)


def test_batches_and_unknown_formats_are_refused() -> None:
    for content_type in ("application/cloudevents-batch+json", "application/cloudevents+avro"):
        with pytest.raises(InvalidEvent, match=r"cloudevents-batch|cloudevents\+avro"):
            from_http([("Content-Type", content_type)], b"[]")


def test_created_events_are_readable_by_the_sdk() -> None:
    headers, body = to_http(create("t", "/s", {"a": 1}, subject="x", extensions={"n": 3}))
    got = from_http_event(HTTPMessage({name.lower(): value for name, value in headers.items()}, body))
    assert (got.get_subject(), got.get_extension("n"), got.get_data()) == ("x", "3", {"a": 1})
    assert is_event({name.lower(): value for name, value in headers.items()})


def test_binary_data_becomes_base64_in_structured_mode() -> None:
    event = from_http((REQUIRED | {"Content-Type": "application/json"}).items(), b"{broken")
    _, body = to_http(event, structured=True)
    assert base64.b64decode(json.loads(body)["data_base64"]) == b"{broken"
