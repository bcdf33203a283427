"""What a function reads from its environment, once, at start.

Both hosts give the same variables: from ConfigMap and Secret `zeroflow` by `envFrom` in every function's manifest.
"""

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from zeroflow.errors import InvalidInput

EVENT_RETENTION_DAYS = 7.0


@dataclass(frozen=True)
class Settings:
    """Where a function finds the database, the object store and the broker."""

    database_url: str
    """ZEROFLOW_DATABASE_URL: SQLAlchemy URL, `sqlite:////path/file.sqlite` or `postgresql+psycopg://...`."""
    store: Path
    """ZEROFLOW_STORE: the directory behind `store://<bucket>/<key>`."""
    sink: str | None = None
    """K_SINK: the URL of the broker that gets this function's events."""
    token: str | None = field(default=None, repr=False)
    """ZEROFLOW_TOKEN: the bearer token that lets a platform function publish `dev.zeroflow.*` events."""
    service: str = "local"
    """K_SERVICE: the name of the function, and the last part of its events' source."""
    namespace: str = "zeroflow"
    """ZEROFLOW_NAMESPACE: the namespace of the platform."""
    scratch: Path = Path(tempfile.gettempdir())
    """ZEROFLOW_SCRATCH: a directory for work in progress; what lies there may be lost without harm."""
    s3_endpoint: str | None = None
    """AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL: an S3-compatible server other than AWS's."""
    trusted_hosts: tuple[str, ...] = ()
    """ZEROFLOW_TRUSTED_HOSTS: hosts of private networks that URLs of clients may name, `host:port` with commas."""
    event_retention_days: float = EVENT_RETENTION_DAYS
    """ZEROFLOW_EVENT_RETENTION_DAYS: how long an event that comes again is known to have been handled; at least 1."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> "Settings":
        """Build the settings; a missing or malformed variable raises InvalidInput naming it."""
        env = os.environ if environment is None else environment
        url = env.get("ZEROFLOW_DATABASE_URL", "")
        if "://" not in url:
            raise InvalidInput(
                f"ZEROFLOW_DATABASE_URL must be a database URL such as sqlite:////home/me/zeroflow.sqlite, got {url!r}"
            )
        store = env.get("ZEROFLOW_STORE", "")
        if not os.path.isabs(store):
            raise InvalidInput(f"ZEROFLOW_STORE must be the absolute path of a directory, got {store!r}")
        sink = env.get("K_SINK") or None
        if sink is not None and not sink.startswith(("http://", "https://")):
            raise InvalidInput(f"K_SINK must be an http or https URL, got {sink!r}")
        return cls(
            database_url=url,
            store=Path(store),
            sink=sink,
            token=env.get("ZEROFLOW_TOKEN") or None,
            service=env.get("K_SERVICE", "local"),
            namespace=env.get("ZEROFLOW_NAMESPACE", "zeroflow"),
            scratch=Path(env.get("ZEROFLOW_SCRATCH") or tempfile.gettempdir()),
            s3_endpoint=env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL") or None,
            trusted_hosts=tuple(filter(None, map(str.strip, env.get("ZEROFLOW_TRUSTED_HOSTS", "").split(",")))),
            event_retention_days=_days(env.get("ZEROFLOW_EVENT_RETENTION_DAYS") or str(EVENT_RETENTION_DAYS)),
        )


def _days(text: str) -> float:
    """Read a number of days; a broker's retries and dead letters may take hours, so that less than a day is refused."""
    if not re.fullmatch(r"\d{1,5}(\.\d+)?", text) or float(text) < 1:
        raise InvalidInput(f"ZEROFLOW_EVENT_RETENTION_DAYS must be a number of days of at least 1, got {text[:40]!r}")
    return float(text)
