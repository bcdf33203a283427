"""Where bytes lie: `store://<bucket>/<key>`, `s3://<bucket>/<key>`, and `file://` for paths inside the local store.

`store://` names the local store without saying where it is, so that a home can be moved, backed up and restored.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from zeroflow.errors import InvalidInput

SCHEMES = ("store", "s3", "file")
_BUCKET = re.compile(r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")


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
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise InvalidInput(f"cannot read {uri!r}: expected a URI that begins with one of {known}")
    if parts.query or parts.fragment:
        raise InvalidInput(f"cannot read {uri!r}: a location has no query and no fragment")
    key = unquote(parts.path).lstrip("/") if parts.scheme == "file" else parts.path.lstrip("/")
    if any(part in ("..", ".") for part in key.split("/")) or "\0" in key or "\\" in key:
        raise InvalidInput(f"cannot read {uri!r}: its path climbs out of where it starts")
    if parts.scheme == "file":
        if parts.netloc not in ("", "localhost"):
            raise InvalidInput(f"cannot read {uri!r}: a file:// location has no host")
        return URI("file", "", key)
    if not _BUCKET.match(parts.netloc):
        raise InvalidInput(f"cannot read {uri!r}: {parts.netloc!r} is no bucket name (3-63 of a-z, 0-9, '.', '-')")
    return URI(parts.scheme, parts.netloc, key)
