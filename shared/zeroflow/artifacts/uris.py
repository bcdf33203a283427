"""Where bytes lie. Stores are read and written: `store://<bucket>/<key>`, `s3://<bucket>/<key>`, and `file://` for
paths inside the local store. Sources are only read, for models: `gs://`, `http(s)://`, `pvc://`, `hf://`, `oci://`.

`store://` names the local store without saying where it is, so that a home can be moved, backed up and restored.
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit

from zeroflow.errors import InvalidInput

SCHEMES = ("store", "s3", "file")
"""What a store holds."""
SOURCES = ("gs", "http", "https", "pvc", "hf", "oci")
"""What is only read."""
MAX_KEY_BYTES = 1024
"""S3's own limit, for every store: what lies in one can be moved to another."""

_SHOWN = 200
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_GOOGLE_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_CLAIM = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_ORGANISATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REGISTRY = re.compile(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?")
_AUTHORITIES = {
    "store": (_BUCKET, "bucket name (3-63 of a-z, 0-9, '.', '-')"),
    "s3": (_BUCKET, "bucket name (3-63 of a-z, 0-9, '.', '-')"),
    "gs": (_GOOGLE_BUCKET, "bucket name (3-222 of a-z, 0-9, '.', '-', '_')"),
    "pvc": (_CLAIM, "name of a persistentvolumeclaim"),
    "hf": (_ORGANISATION, "organisation or model of the hub"),
    "oci": (_REGISTRY, "registry host"),
}
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class URI:
    """A parsed location. `key` has no leading slash; for `file`, it is the path without its first slash.

    Of an http URL, `bucket` is host and port, and `key` the path with its query, as they were written.
    """

    scheme: str
    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    def joined(self, *parts: str) -> "URI":
        """Return the location below this one."""
        return URI(self.scheme, self.bucket, "/".join(part.strip("/") for part in (self.key, *parts) if part))


def parse(uri: str) -> URI:
    """Parse a location; raise InvalidInput for another scheme, a bad bucket name, or a key that climbs."""
    if uri != uri.strip() or _UNREADABLE.search(uri):  # urlsplit drops most of these in silence
        raise InvalidInput(f"cannot read {_shown(uri)}: it begins or ends with space, or holds control characters")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise InvalidInput(f"cannot read {_shown(uri)}: {error}") from error
    if parts.scheme not in (*SCHEMES, *SOURCES):
        known = ", ".join(f"{scheme}://" for scheme in (*SCHEMES, *SOURCES))
        raise InvalidInput(f"cannot read {_shown(uri)}: expected a URI that begins with one of {known}")
    if parts.scheme in ("http", "https"):
        return _web(uri, parts)
    if parts.query or parts.fragment:
        raise InvalidInput(f"cannot read {_shown(uri)}: a location has no query and no fragment")
    key = unquote(parts.path).lstrip("/") if parts.scheme == "file" else parts.path.lstrip("/")
    if any(part in ("..", ".") for part in key.split("/")) or "\0" in key or "\\" in key:
        raise InvalidInput(f"cannot read {_shown(uri)}: its path climbs out of where it starts")
    if (length := len(key.encode())) > MAX_KEY_BYTES:
        raise InvalidInput(f"cannot read {_shown(uri)}: its key has {length} bytes, {MAX_KEY_BYTES} are allowed")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidInput(f"cannot read {_shown(uri)}: a file:// location has no host")
        return URI("file", "", key)
    pattern, what = _AUTHORITIES[parts.scheme]
    if not pattern.fullmatch(parts.netloc):
        raise InvalidInput(f"cannot read {_shown(uri)}: {parts.netloc!r} is no {what}")
    if parts.scheme == "oci" and not key:
        raise InvalidInput(f"cannot read {_shown(uri)}: it names no model after {parts.netloc!r}")
    return URI(parts.scheme, parts.netloc, key)


def _web(uri: str, parts: SplitResult) -> URI:
    if not parts.hostname:
        raise InvalidInput(f"cannot read {_shown(uri)}: it names no host")
    if parts.username or parts.password:
        raise InvalidInput("cannot read the URL: it carries a password; give headers by the service account's Secret")
    if len(uri) > 2 * MAX_KEY_BYTES:
        raise InvalidInput(f"cannot read {_shown(uri)}: it has {len(uri)} characters, {2 * MAX_KEY_BYTES} are allowed")
    return URI(parts.scheme, parts.netloc, parts.path.lstrip("/") + (f"?{parts.query}" if parts.query else ""))


def _shown(uri: str) -> str:
    return repr(uri) if len(uri) <= _SHOWN else f"{uri[:_SHOWN]!r}..."
