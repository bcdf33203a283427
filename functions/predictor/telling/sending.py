"""CloudEvents out of a predictor, in binary mode over kept connections; used by threads that answer no request.

Guarantees: `post` returns whether the receiver accepted the event; it never raises for what the network does, and
gives up after a few seconds. Source: CloudEvents 1.0.2, HTTP protocol binding, 3.1 (binary mode, header encoding).
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

logger = logging.getLogger(__name__)

CONNECT_S, READ_S = 1.0, 5.0
_PRINTABLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '%"')


class Sender:
    """Posts to one URL."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._pool: Any = None

    def post(self, attributes: Mapping[str, str], content_type: str, data: bytes) -> bool:
        """Send one event; say whether it was accepted."""
        import urllib3

        if self._pool is None:
            self._pool = urllib3.PoolManager(
                maxsize=2,
                timeout=urllib3.Timeout(connect=CONNECT_S, read=READ_S),
                retries=urllib3.Retry(
                    total=2, redirect=0, backoff_factor=0.1, status_forcelist=(502, 503, 504), allowed_methods=None
                ),
            )
        headers = {f"ce-{name}": _encoded(value) for name, value in attributes.items()}
        try:
            answer = self._pool.request(
                "POST", self.url, body=data, headers={**headers, "content-type": content_type, **self._headers}
            )
        except urllib3.exceptions.HTTPError as error:
            logger.warning("%s does not take events: %s", self.url, type(error).__name__)
            return False
        if answer.status // 100 != 2:
            logger.warning("%s answers %d to %s", self.url, answer.status, attributes.get("type"))
        return bool(answer.status // 100 == 2)


def rfc3339(seconds: float) -> str:
    """Return a time as events write it."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encoded(value: str) -> str:
    """Percent-encode what a header cannot carry: spaces, quotes, percent signs and what is not ASCII."""
    return quote(value, safe=_PRINTABLE)
