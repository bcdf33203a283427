"""Google Cloud Storage by its JSON API: `gs://<bucket>/<key>`, a file or everything below a prefix.

Requests are anonymous, as for public buckets, or carry the token of a service account (google-auth signs for it).
STORAGE_EMULATOR_HOST names another server, as for Google's own client.
Source: Cloud Storage JSON API v1 (objects.list, objects.get alt=media).
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from zeroflow.artifacts.guard import Guard
from zeroflow.artifacts.uris import URI
from zeroflow.errors import Forbidden, InvalidInput, NotFound, Unavailable

SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
MAX_LIST_BYTES = 64 << 20


@dataclass(frozen=True)
class _Object:
    name: str
    size: int
    version: str


class GoogleStore:
    """Reads objects; nothing is written."""

    def __init__(self, endpoint: str, credentials: str | None, guard: Guard, max_bytes: int) -> None:
        self._endpoint, self._credentials, self._guard, self._max_bytes = endpoint, credentials, guard, max_bytes

    def exists(self, uri: URI) -> bool:
        return next(self._objects(uri), None) is not None

    def version(self, uri: URI) -> str | None:
        """Return what changes when an object below the location does."""
        return json.dumps([[found.name, found.version] for found in self._objects(uri)])

    def local_path(self, uri: URI) -> Path | None:
        return None

    def fetch(self, uri: URI, target: Path) -> None:
        found = list(self._objects(uri))
        if not found:
            raise NotFound(f"there is nothing at {uri}")
        if sum(each.size for each in found) > self._max_bytes:
            raise InvalidInput(f"{uri} is larger than the {self._max_bytes} bytes that are allowed")
        for each in found:
            below = each.name[len(uri.key.rstrip("/")) :].lstrip("/")
            path = (target / below).resolve() if below else target
            if below and not path.is_relative_to(target.resolve()):
                raise InvalidInput(f"{uri} holds an object whose key climbs out of it: {each.name!r}")
            path.parent.mkdir(parents=True, exist_ok=True)
            media = f"{self._bucket(uri)}/o/{quote(each.name, safe='')}?alt=media"
            with self._guard.get(media, headers=self._headers()) as reply, path.open("wb") as file:
                for chunk in reply.chunks(self._max_bytes):
                    file.write(chunk)

    def _objects(self, uri: URI) -> Iterator[_Object]:
        """Yield the object itself when there is one of that key, else every object below it."""
        prefix, token = uri.key.rstrip("/"), ""
        while True:
            query = {"prefix": prefix, **({"pageToken": token} if token else {})}
            page = self._json(f"{self._bucket(uri)}/o?{urlencode(query)}", uri)
            for item in page.get("items") or ():
                name = str(item["name"])
                within = name == prefix or not prefix or name.startswith(prefix + "/")
                if within and not name.endswith("/"):
                    yield _Object(name, int(item.get("size", 0)), str(item.get("generation") or item.get("etag")))
            token = str(page.get("nextPageToken") or "")
            if not token:
                return

    def _bucket(self, uri: URI) -> str:
        return f"{self._endpoint}/storage/v1/b/{quote(uri.bucket, safe='')}"

    def _json(self, url: str, uri: URI) -> Mapping[str, Any]:
        try:
            with self._guard.get(url, headers=self._headers()) as reply:
                page = json.loads(reply.read(MAX_LIST_BYTES))
        except NotFound as error:
            raise NotFound(f"there is no bucket {uri.bucket!r}: {uri}") from error
        except Forbidden as error:
            if "not public" in str(error):
                raise
            raise Forbidden(f"Google Cloud Storage refuses {uri}: check the service account's Secret") from error
        except ValueError as error:
            raise Unavailable(f"{self._endpoint} does not speak Cloud Storage's JSON API") from error
        if not isinstance(page, dict):
            raise Unavailable(f"{self._endpoint} does not speak Cloud Storage's JSON API")
        return page

    def _headers(self) -> dict[str, str]:
        if self._credentials is None:
            return {}
        try:
            account: Any = importlib.import_module("google.oauth2.service_account")
            transport: Any = importlib.import_module("google.auth.transport.urllib3")
        except ImportError as error:
            raise InvalidInput(
                "a gs:// location with a service account needs google-auth: pip install google-auth"
            ) from error
        import urllib3

        try:
            signer = account.Credentials.from_service_account_info(json.loads(self._credentials), scopes=[SCOPE])
            signer.refresh(transport.Request(urllib3.PoolManager()))
        except Exception as error:  # a damaged key raises anything
            raise Forbidden(f"the Google service account's key gets no token: {type(error).__name__}") from error
        return {"Authorization": f"Bearer {signer.token}"}
