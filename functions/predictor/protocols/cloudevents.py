"""CloudEvents around protocol V1: an event in, an event of the same mode out.

The answer's type is `io.kserve.inference.response` and its source `io.kserve.inference.<model>`, as KServe's server
sends them. Source: CloudEvents 1.0.2, HTTP protocol binding; KServe, CloudEvents inference.
"""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from zeroflow.functions.predictor.errors import BadRequest
from zeroflow.functions.predictor.telling.sending import rfc3339

STRUCTURED = "application/cloudevents+json"
RESPONSE_TYPE = "io.kserve.inference.response"


@dataclass(frozen=True)
class Answer:
    """An encoded event."""

    headers: Mapping[str, str]
    body: bytes


def is_event(headers: Mapping[str, str]) -> bool:
    """Say whether a request carries an event, in binary or structured mode."""
    return "ce-specversion" in headers or headers.get("content-type", "").lower().startswith(STRUCTURED)


def data_of(headers: Mapping[str, str], body: bytes, any_data: bool = False) -> Any:
    """Return the event's data; raise BadRequest for what is no event, and, unless `any_data`, for data that is no JSON.

    Data of another content type stays bytes.
    """
    from cloudevents.core.bindings.http import HTTPMessage, from_http_event
    from cloudevents.core.exceptions import CloudEventValidationError

    try:
        data = from_http_event(HTTPMessage(headers=dict(headers), body=body)).get_data()
    except CloudEventValidationError as error:
        faults = "; ".join(str(fault) for faults in error.errors.values() for fault in faults)
        raise BadRequest(f"malformed CloudEvent: {faults}") from error
    except AttributeError as error:
        raise BadRequest("malformed CloudEvent: in structured mode the body must be a JSON object") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadRequest(f"malformed CloudEvent: {error}") from error
    except RecursionError as error:
        raise BadRequest("malformed CloudEvent: its data are nested too deeply") from error
    if isinstance(data, bytes | str):  # binary mode with another content type than JSON
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            if any_data and "json" not in headers.get("content-type", ""):
                return data
            raise BadRequest(f"the event's data is not JSON: {error}") from error
    return data


def answer(headers: Mapping[str, str], model: str, data: bytes) -> Answer:
    """Wrap an encoded JSON answer in an event of the mode that the request had."""
    attributes = {
        "specversion": "1.0",
        "id": str(uuid.uuid4()),
        "source": f"io.kserve.inference.{model}",
        "type": RESPONSE_TYPE,
        "time": rfc3339(time.time()),
        "datacontenttype": "application/json",
    }
    if "ce-specversion" in headers:
        named = {f"ce-{name}": value for name, value in attributes.items() if name != "datacontenttype"}
        return Answer({**named, "content-type": "application/json"}, data)
    return Answer({"content-type": STRUCTURED}, orjson.dumps({**attributes, "data": orjson.Fragment(data)}))
