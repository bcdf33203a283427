"""Storage notifications as CloudEvents (CloudEvents adapters, Amazon S3).

An S3 record becomes type `com.amazonaws.s3.<eventName>`, source `<eventSource>.<awsRegion>.<bucket>`, subject the
object's key, data the record. MinIO sends the same records with `s3:` before the event name. The id is made from what
identifies the change (bucket, key, sequencer or ETag and time), so that a notification sent twice is one event.
"""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, unquote_plus

from zeroflow.artifacts import Content
from zeroflow.errors import InvalidInput

OWN_EVENT_SOURCE = "zeroflow:s3"
"""The eventSource of records about the local store, as MinIO's are `minio:s3`."""


@dataclass(frozen=True)
class Notification:
    """What an S3 record says, as the parts of a CloudEvent."""

    type: str
    source: str
    subject: str
    id: str
    data: dict[str, Any]


def from_records(body: Any) -> list[Notification]:
    """Read an S3 or MinIO notification body; raise InvalidInput naming what is missing."""
    records = body.get("Records") if isinstance(body, dict) else None
    if not isinstance(records, list) or not records:
        raise InvalidInput("expected an S3 notification: a JSON object with a non-empty list `Records`")
    return [_from_record(record, position) for position, record in enumerate(records)]


def of_upload(bucket: str, key: str, content: Content, created: datetime) -> Notification:
    """Describe an object that was put into the local store, as S3 would."""
    record = {
        "eventVersion": "2.1",
        "eventSource": OWN_EVENT_SOURCE,
        "awsRegion": "",
        "eventTime": created.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": bucket},
            "object": {
                "key": quote(key),
                "size": content.size_bytes,
                "eTag": content.sha256,
                "sequencer": f"{int(created.timestamp() * 1e6):016X}",
            },
        },
    }
    return _from_record(record, 0)


def _from_record(record: Any, position: int) -> Notification:
    try:
        name = str(record["eventName"]).removeprefix("s3:")
        bucket, stored = record["s3"]["bucket"]["name"], record["s3"]["object"]
        key = unquote_plus(stored["key"])
        source = f"{record['eventSource']}.{record.get('awsRegion', '')}.{bucket}"
    except (KeyError, TypeError) as error:
        raise InvalidInput(f"Records[{position}] is no S3 record: {error} is missing or of another type") from error
    elements = record.get("responseElements") or {}
    request_id = elements.get("x-amz-request-id")
    if request_id:
        event_id = ".".join(filter(None, (request_id, elements.get("x-amz-id-2"))))
    else:
        change = [source, name, key, str(stored.get("sequencer") or [stored.get("eTag"), record.get("eventTime")])]
        event_id = hashlib.sha256("\n".join(change).encode()).hexdigest()[:32]
    return Notification(f"com.amazonaws.s3.{name}", source, key, event_id, record)
