"""The HTTP edge of ingest: objects in and out of the local store, storage notifications, webhooks."""

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request, send_file

from zeroflow.artifacts import Stores, parse
from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.events import FunctionApp, Transaction
from zeroflow.functions.ingest import notifications, reads, webhooks
from zeroflow.settings import Settings

MAX_WEBHOOK_BYTES = 1 << 20
"""A webhook's body becomes an event; larger things are uploads."""

CHUNK_BYTES = 1 << 20


def create_app(settings: Settings | None = None, environment: Mapping[str, str] | None = None) -> Flask:
    """Build the app; `environment` holds the webhooks' secrets."""
    settings = settings or Settings.from_environment()
    secrets = os.environ if environment is None else environment
    app = FunctionApp.from_settings("ingest", settings)
    stores = Stores.from_settings(settings)

    @app.flask.put("/objects/<bucket>/<path:key>")
    def put_object(bucket: str, key: str) -> tuple[Response, int]:
        uri = parse(f"store://{bucket}/{key}")
        if stores.local.path(uri).is_dir():  # a put replaces what is there, and this would be more than one object
            raise Conflict(f"{uri} is a directory of objects, which an upload does not replace; name a key below it")
        settings.store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".upload-", dir=settings.store) as scratch:
            received = Path(scratch) / "object"
            _receive(received)
            stored = stores.put(received, str(uri))
        notification = notifications.of_upload(uri.bucket, uri.key, stored, datetime.now(UTC))
        with app.transaction() as tx:
            _emit(tx, notification)
        return jsonify(uri=str(uri), sha256=stored.sha256, size_bytes=stored.size_bytes, event=notification.id), 201

    @app.flask.get("/objects/<bucket>/<path:key>")
    def get_object(bucket: str, key: str) -> Response:
        path = stores.local_path(f"store://{bucket}/{key}")
        if path is None or not path.is_file():
            raise NotFound(f"there is no object at store://{bucket}/{key}; a directory is read file by file")
        if request.method == "GET":
            who = reads.origin(request.headers.get, request.remote_addr, settings.token)
            reads.note(app, parse(f"store://{bucket}/{key}"), path.stat().st_size, who)
        return send_file(path, mimetype="application/octet-stream", as_attachment=True, download_name=path.name)

    @app.flask.get("/objects/<bucket>/")
    def list_objects(bucket: str) -> Response:
        root = stores.local_path(f"store://{bucket}/")
        prefix = request.args.get("prefix", "")
        found = []
        for path in sorted(root.rglob("*")) if root else []:
            key = path.relative_to(root).as_posix() if root else ""
            if path.is_file() and key.startswith(prefix) and not any(part.startswith(".") for part in Path(key).parts):
                found.append({"uri": f"store://{bucket}/{key}", "size_bytes": path.stat().st_size})
        return jsonify(objects=found)

    @app.flask.post("/notifications/s3")
    def storage_notification() -> tuple[str, int]:
        found = notifications.from_records(_parsed(_small_body()))
        with app.transaction() as tx:
            for notification in found:
                _emit(tx, notification)
        return "", 202

    @app.flask.post("/webhooks/<name>")
    def webhook(name: str) -> tuple[Response, int]:
        headers = {header.lower(): value for header, value in request.headers.items()}
        body = _small_body()
        webhooks.verify(name, body, headers, secrets)
        data = webhooks.event_data(name, _parsed(body), headers)
        with app.transaction() as tx:
            tx.emit(
                "dev.zeroflow.webhook.received",
                subject=name,
                data=data,
                event_id=webhooks.delivery_id(name, headers),
            )
        return jsonify(webhook=name, accepted=True), 202

    return app.flask


def _emit(tx: Transaction, notification: notifications.Notification) -> None:
    tx.emit(
        notification.type,
        source=notification.source,
        subject=notification.subject,
        event_id=notification.id,
        data=notification.data,
    )


def _receive(target: Path) -> None:
    """Write the request's body to a file; a body that ends early is refused before anything is stored."""
    expected = request.content_length
    received = 0
    with target.open("wb") as file:
        while chunk := request.stream.read(CHUNK_BYTES):
            file.write(chunk)
            received += len(chunk)
    if expected is not None and received != expected:
        raise InvalidInput(f"the upload ended after {received} of {expected} bytes; nothing was stored")


def _small_body() -> bytes:
    """Read a body that is to become an event; of a larger one the rest is read and dropped, then it is refused."""
    body = bytearray()
    while chunk := request.stream.read(CHUNK_BYTES):
        if len(body) <= MAX_WEBHOOK_BYTES:
            body += chunk
    if len(body) > MAX_WEBHOOK_BYTES:
        raise InvalidInput(f"the body is larger than {MAX_WEBHOOK_BYTES} bytes")
    return bytes(body)


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidInput("the body is not JSON") from error
