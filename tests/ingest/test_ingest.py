"""What comes from outside becomes an event: uploads, storage notifications, webhooks."""

import hashlib
import hmac
import io
import json
from pathlib import Path

import pytest
from sqlalchemy import select

from zeroflow import callers
from zeroflow.functions.ingest.handler import create_app
from zeroflow.metadata import Database, audit
from zeroflow.metadata.events import EventRecord
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext
from zeroflow.settings import Settings

MINIO = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": "data/my file.csv",
    "Records": [
        {
            "eventSource": "minio:s3",
            "awsRegion": "",
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "s3:ObjectCreated:Put",
            "responseElements": {"x-amz-request-id": "17AB"},
            "s3": {"bucket": {"name": "data"}, "object": {"key": "my+file.csv", "size": 3, "sequencer": "1"}},
        }
    ],
}


CHUNKED = {"wsgi.input_terminated": True}  # as gunicorn says it of a body in chunks


@pytest.fixture
def client(database_url: str, tmp_path: Path):
    settings = Settings(database_url=database_url, store=tmp_path / "store", token="secret")
    app = create_app(settings, {"WEBHOOK_SECRET_GITHUB": "hush"})
    yield app.test_client()
    app.extensions["zeroflow"].database.close()


@pytest.fixture
def emitted(database: Database):
    def read() -> list[EventRecord]:
        with database.reading() as session:
            return list(session.scalars(select(EventRecord).order_by(EventRecord.seq)))

    return read


def test_an_upload_is_stored_and_announced_as_s3_would(client, emitted, tmp_path):
    answer = client.put("/objects/data/flights/my file.csv", data=b"a,b\n")
    assert answer.status_code == 201
    assert answer.get_json()["sha256"] == hashlib.sha256(b"a,b\n").hexdigest()
    assert (tmp_path / "store/data/flights/my file.csv").read_bytes() == b"a,b\n"
    [event] = emitted()
    assert event.type == "com.amazonaws.s3.ObjectCreated:Put"
    assert event.source == "zeroflow:s3..data"
    assert event.subject == "flights/my file.csv"
    assert event.data["s3"]["object"]["size"] == 4
    with client.get("/objects/data/flights/my file.csv") as download:
        assert download.data == b"a,b\n"
    listed = client.get("/objects/data/?prefix=flights/").get_json()["objects"]
    assert listed == [{"uri": "store://data/flights/my file.csv", "size_bytes": 4}]


def test_an_upload_that_climbs_is_refused_and_leaves_nothing(client, emitted, tmp_path):
    answer = client.put("/objects/data/%2e%2e/%2e%2e/evil", data=b"x")
    assert answer.status_code == 400
    assert "climbs out" in answer.text
    assert emitted() == []
    assert not (tmp_path / "evil").exists()


def test_minios_notification_becomes_amazons_event(client, emitted):
    assert client.post("/notifications/s3", json=MINIO).status_code == 202
    assert client.post("/notifications/s3", json=MINIO).status_code == 202
    [event] = emitted()
    assert event.type == "com.amazonaws.s3.ObjectCreated:Put"
    assert (event.source, event.subject, event.id) == ("minio:s3..data", "my file.csv", "17AB")


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"Records": [{"eventName": "x"}]}'])
def test_a_notification_that_is_none_is_refused(client, emitted, body):
    answer = client.post("/notifications/s3", data=body)
    assert answer.status_code == 400
    assert emitted() == []


def test_a_webhook_becomes_an_event_once(client, emitted):
    for _ in range(2):
        answer = client.post("/webhooks/retrain", json={"ref": "main"}, headers={"Idempotency-Key": "k1"})
        assert answer.status_code == 202
    [event] = emitted()
    assert (event.type, event.subject) == ("dev.zeroflow.webhook.received", "retrain")
    assert event.data == {"webhook": "retrain", "kind": None, "body": {"ref": "main"}}


def test_a_signed_webhook_needs_its_signature(client, emitted):
    body = json.dumps({"ref": "main"}).encode()
    assert client.post("/webhooks/github", data=body).status_code == 403
    assert emitted() == []
    signature = "sha256=" + hmac.new(b"hush", body, hashlib.sha256).hexdigest()
    signed = {"X-Hub-Signature-256": signature, "X-GitHub-Event": "push", "X-GitHub-Delivery": "d1"}
    assert client.post("/webhooks/github", data=body, headers=signed).status_code == 202
    [event] = emitted()
    assert (event.id, event.data["kind"]) == ("github.d1", "push")


def test_an_upload_does_not_replace_a_directory_of_objects(client, emitted, tmp_path):
    assert client.put("/objects/data/flights/2013-01.csv", data=b"a,b\n").status_code == 201
    answer = client.put("/objects/data/flights", data=b"c,d\n")
    assert answer.status_code == 409
    assert "name a key below it" in answer.text
    assert (tmp_path / "store/data/flights/2013-01.csv").read_bytes() == b"a,b\n"
    assert len(emitted()) == 1


@pytest.mark.parametrize("path", ["/webhooks/github", "/webhooks/other", "/notifications/s3"])
def test_a_large_body_of_unknown_length_is_refused(client, emitted, path):
    body = io.BytesIO(b'"' + b"x" * (3 << 20) + b'"')
    answer = client.post(path, input_stream=body, headers={"transfer-encoding": "chunked"}, environ_overrides=CHUNKED)
    assert (answer.status_code, answer.text) == (400, "the body is larger than 1048576 bytes\n")
    assert not emitted()


def test_json_too_deep_for_the_parser_is_refused(client, emitted):
    answer = client.post("/webhooks/other", data=b"[" * 100_000)
    assert (answer.status_code, answer.text) == (400, "the body is not JSON\n")
    assert not emitted()


def test_reading_a_registered_models_bytes_leaves_a_record(client, database):
    for key in ("iris/1/model.pkl", "iris/1/parts/a.bin", "other/x"):
        client.put(f"/objects/models/{key}", data=b"abc")
    times = {"created_ms": 1, "updated_ms": 1}
    with database.transaction() as session:
        model = RegistryContext(kind="registered_model", name="iris", **times)
        session.add(model)
        session.flush()
        version = RegistryContext(kind="model_version", name="1", parent_id=model.id, **times)
        session.add(version)
        session.flush()
        number, uri = version.id, "store://models/iris/1"
        session.add(RegistryArtifact(kind="model-artifact", name="m", parent_id=number, uri=uri, **times))
    told = callers.told("secret", callers.Caller("ada"))
    forged = told | {callers.PROOF: "00"}
    for path, headers in (("iris/1/parts/a.bin", told), ("iris/1/model.pkl", forged), ("other/x", told)):
        with client.get(f"/objects/models/{path}", headers=headers) as answer:
            assert answer.data == b"abc"
    with client.head("/objects/models/iris/1/model.pkl") as answer:
        assert answer.status_code == 200
    with database.reading() as session:
        records = [json.loads(record.record) for record in audit.read(session)]
    assert [(one["verb"], one["entity_name"], one["entity_id"]) for one in records] == [
        ("download", "iris/1", str(number))
    ] * 2
    assert [(one["actor"], one["authenticated"]) for one in records] == [("user:ada", True), ("anonymous", False)]
    assert records[0]["after"]["uri"] == "store://models/iris/1/parts/a.bin"
