"""S3 and what speaks its protocol, through boto3 with any endpoint URL.

Credentials are those of `Access`, or come from where boto3 finds them (profile, web identity); none is stored by us.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from zeroflow.artifacts.access import S3Access
from zeroflow.artifacts.guard import gives_credentials
from zeroflow.artifacts.uris import URI
from zeroflow.errors import Forbidden, NotFound, Unavailable, ZeroflowError

TIMEOUT_S = 20


class S3Store:
    """`s3://<bucket>/<key>`; a directory is every object below `<key>/`."""

    def __init__(self, endpoint: str | None = None, access: S3Access | None = None) -> None:
        access = access or S3Access()
        endpoint = access.endpoint or endpoint
        if endpoint is not None and gives_credentials(urlsplit(endpoint).hostname or ""):
            raise Forbidden(
                f"S3 endpoint {endpoint} is a link-local address, where a cloud keeps machines' credentials"
            )
        config = Config(
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            retries={"max_attempts": 4, "mode": "standard"},
            s3={
                "addressing_style": "virtual" if access.virtual_bucket else "auto",
                "use_accelerate_endpoint": access.accelerate,
            },
            **({"signature_version": UNSIGNED} if access.anonymous else {}),
        )
        self._client: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            config=config,
            region_name=access.region,
            aws_access_key_id=access.key_id,
            aws_secret_access_key=access.secret,
            aws_session_token=access.session_token,
            verify=None if access.verify else False,
        )

    def exists(self, uri: URI) -> bool:
        try:
            return next(self._objects(uri), None) is not None
        except NotFound:
            return False

    def local_path(self, uri: URI) -> Path | None:
        return None

    def version(self, uri: URI) -> str | None:
        """Return the ETags of every object at the location."""
        return json.dumps([[found["Key"], found.get("ETag")] for found in self._found(uri)])

    def put(self, source: Path, uri: URI) -> None:
        try:
            if not source.is_dir():
                self._client.upload_file(str(source), uri.bucket, uri.key)
                return
            for path in sorted(source.rglob("*")):
                if path.is_file():
                    key = uri.joined(path.relative_to(source).as_posix()).key
                    self._client.upload_file(str(path), uri.bucket, key)
        except (BotoCoreError, ClientError, boto3.exceptions.Boto3Error) as error:
            raise _translated(error, uri) from error

    def fetch(self, uri: URI, target: Path) -> None:
        keys = list(self._objects(uri))
        if not keys:
            raise NotFound(f"there is nothing at {uri}")
        for key in keys:
            below = key[len(uri.key) :].lstrip("/")
            path = (target / below).resolve() if below else target
            if below and not path.is_relative_to(target.resolve()):
                raise NotFound(f"{uri} holds an object whose key climbs out of it: {key!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._client.download_file(uri.bucket, key, str(path))
            except (BotoCoreError, ClientError) as error:
                raise _translated(error, uri) from error

    def delete(self, uri: URI) -> None:
        for key in list(self._objects(uri)):
            try:
                self._client.delete_object(Bucket=uri.bucket, Key=key)
            except (BotoCoreError, ClientError) as error:
                raise _translated(error, uri) from error

    def _objects(self, uri: URI) -> Iterator[str]:
        """Yield the key itself when it is an object, else every object below it as a directory."""
        for found in self._found(uri):
            yield str(found["Key"])

    def _found(self, uri: URI) -> Iterator[dict[str, Any]]:
        prefix = uri.key.rstrip("/")
        try:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=uri.bucket, Prefix=prefix)
            for page in pages:
                for found in page.get("Contents", []):
                    key = str(found["Key"])
                    below = key == prefix or not prefix or key.startswith(prefix + "/")
                    if below and not key.endswith("/"):
                        yield found
        except (BotoCoreError, ClientError) as error:
            raise _translated(error, uri) from error


def _translated(error: Exception, uri: URI) -> ZeroflowError:
    code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
    if code in ("404", "NoSuchKey", "NoSuchBucket"):
        return NotFound(f"there is nothing at {uri}: {code}")
    if code in ("403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"):
        return Forbidden(f"S3 refuses {uri}: {code}; check the credentials of this function")
    return Unavailable(f"S3 does not give {uri}: {type(error).__name__} {code}".rstrip())
