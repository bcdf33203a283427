"""Object stores behind one interface, sources of models behind half of it, and the choice between them by URI.

Duties of a `Store`: a key names a file or, as a prefix, a directory of files. `put` is atomic for a file - a reader
sees the old bytes, the new bytes or nothing - and leaves nothing behind when it fails. `fetch` of a missing key raises
NotFound. All methods may be called from several threads. A `Source` is read alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from zeroflow.artifacts import content
from zeroflow.artifacts.access import Access
from zeroflow.artifacts.uris import SOURCES, URI, parse
from zeroflow.errors import InvalidInput, NotFound
from zeroflow.settings import Settings


class Source(Protocol):
    """Bytes by URI, to be read."""

    def exists(self, uri: URI) -> bool:
        """Say whether a file or a directory with at least one file lies there."""

    def fetch(self, uri: URI, target: Path) -> None:
        """Copy a file or a directory from the location to the path `target`, which must not exist."""

    def local_path(self, uri: URI) -> Path | None:
        """Return where the bytes can be read without copying, or None when they are elsewhere."""

    def version(self, uri: URI) -> str | None:
        """Return what changes whenever the bytes do; None when nothing says so, or they lie here anyway."""


class Store(Source, Protocol):
    """Bytes by URI, to be read and written."""

    def put(self, source: Path, uri: URI) -> None:
        """Copy a file or a whole directory to the location, replacing what was there."""

    def delete(self, uri: URI) -> None:
        """Remove a file or a directory; nothing happens when there is none."""


class Stores:
    """All stores and sources of this installation; opens each when it is first used."""

    def __init__(
        self, root: Path, s3_endpoint: str | None = None, environment: Mapping[str, str] | None = None
    ) -> None:
        """`environment` says how others than the local store are reached; None: the process's own."""
        from zeroflow.artifacts.local import LocalStore

        self.local = LocalStore(root)
        self._s3_endpoint, self._environment = s3_endpoint, environment
        self._opened: dict[str, Source] = {}
        self._s3: Store | None = None
        self._access: Access | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> "Stores":
        """Open the stores that the settings name."""
        return cls(settings.store, settings.s3_endpoint)

    def of(self, uri: str) -> tuple[Store, URI]:
        """Return the store that holds a location, and the location; raise InvalidInput for a URI of no store."""
        parsed = parse(uri)
        if parsed.scheme in SOURCES:
            raise InvalidInput(f"{uri} can only be read; expected store://, s3:// or file://")
        if parsed.scheme == "file":
            return self.local, self.local.inside(parsed)
        if parsed.scheme == "store":
            return self.local, parsed
        if self._s3 is None:
            try:
                from zeroflow.artifacts.s3 import S3Store
            except ImportError as error:
                raise InvalidInput(f"{uri} needs boto3: pip install 'zeroflow[s3]'") from error
            self._s3 = S3Store(self._s3_endpoint, self.access.s3)
        return self._s3, parsed

    @property
    def access(self) -> Access:
        """How others than the local store are reached."""
        if self._access is None:
            self._access = Access.from_environment(self._environment)
        return self._access

    def exists(self, uri: str) -> bool:
        """Say whether there are bytes at the location."""
        source, parsed = self._source(uri)
        return source.exists(parsed)

    def put(self, source: Path, uri: str) -> content.Content:
        """Copy a file or directory to the location; return what it is."""
        described = content.of(source)
        store, parsed = self.of(uri)
        store.put(source, parsed)
        return described

    def fetch(self, uri: str, target: Path) -> None:
        """Copy what lies at the location to `target`; raise NotFound when there is nothing.

        With a cache (ZEROFLOW_MODEL_CACHE), what was fetched before in the same version comes from there.
        """
        source, parsed = self._source(uri)
        root = None if source is self.local else self.access.cache
        version = source.version(parsed) if root is not None else None
        if root is None or version is None:
            source.fetch(parsed, target)
            return
        from zeroflow.artifacts.cache import Cache

        cache = Cache(root)
        if cache.copy(str(parsed), version, target):
            return
        source.fetch(parsed, target)
        cache.keep(str(parsed), version, target)

    def delete(self, uri: str) -> None:
        """Remove what lies at the location."""
        store, parsed = self.of(uri)
        store.delete(parsed)

    def local_path(self, uri: str) -> Path | None:
        """Return the path of bytes that lie on this machine; NotFound when they should but do not."""
        source, parsed = self._source(uri)
        path = source.local_path(parsed)
        if path is not None and not path.exists():
            raise NotFound(f"there is nothing at {uri}")
        return path

    def _source(self, uri: str) -> tuple[Source, URI]:
        parsed = parse(uri)
        if parsed.scheme not in SOURCES:
            return self.of(uri)
        scheme = "http" if parsed.scheme == "https" else parsed.scheme
        if scheme not in self._opened:
            self._opened[scheme] = _open(scheme, self.access)
        return self._opened[scheme], parsed


def _open(scheme: str, access: Access) -> Source:
    """Open a source; each module is imported when its scheme is first used."""
    if scheme == "pvc":
        from zeroflow.artifacts.volumes import MountedVolume

        return MountedVolume(access.claim)
    if scheme == "oci":
        from zeroflow.artifacts.oci import Images

        return Images(access.oci_mirror, access.max_bytes)
    from urllib.parse import urlsplit

    from zeroflow.artifacts.guard import Guard

    if scheme == "hf":
        from zeroflow.artifacts.hub import Hub

        return Hub(access, Guard(access.private_hosts))
    if scheme == "gs":
        from zeroflow.artifacts.gcs import GoogleStore

        emulator = urlsplit(access.gcs_endpoint).netloc.lower()  # named by the operator, so it may lie anywhere
        guard = Guard(access.private_hosts | {emulator})
        return GoogleStore(access.gcs_endpoint, access.gcs_credentials, guard, access.max_bytes)
    from zeroflow.artifacts.web import Web

    return Web(Guard(access.private_hosts, access.http_headers), access.max_bytes)
