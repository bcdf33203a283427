"""Where bytes lie: `store://<bucket>/<key>`, `s3://<bucket>/<key>`, and `file://` for paths inside the local store.

`store://` names the local store without saying where it is, so that a home can be moved, backed up and restored.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from zeroflow.errors import InvalidInput

SCHEMES = ("store", "s3", "file")
MAX_KEY_BYTES = 1024
"""S3's own limit, for every store: what lies in one can be moved to another."""

_SHOWN = 200
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_UNREADABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


@dataclass(frozen=True)
class URI:
    """A parsed location. `key` has no leading slash; for `file`, it is the path without its first slash."""

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
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidInput(f"cannot read {_shown(uri)}: expected a URI that begins with one of {known}")
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
    if not _BUCKET.fullmatch(parts.netloc):
        raise InvalidInput(
            f"cannot read {_shown(uri)}: {parts.netloc!r} is no bucket name (3-63 of a-z, 0-9, '.', '-')"
        )
    return URI(parts.scheme, parts.netloc, key)


def _shown(uri: str) -> str:
    return repr(uri) if len(uri) <= _SHOWN else f"{uri[:_SHOWN]!r}..."
