"""The running host, as commands find and ask it.

ZEROFLOW_URL names it; otherwise host.json in the home (--home, ZEROFLOW_HOME, ~/.zeroflow) does, which a running host
writes; otherwise it is http://localhost:8080.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3

from zeroflow.errors import InvalidInput, Unavailable, ZeroflowError

DEFAULT_URL = "http://localhost:8080"
TIMEOUT = urllib3.Timeout(connect=3.0, read=60.0)
"""Reading may wait for a function's cold start."""


class Refused(ZeroflowError):
    """The host understood the request and refuses it; the message is the host's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def home_directory() -> Path:
    """Return the home that the user means: ZEROFLOW_HOME, or else ~/.zeroflow."""
    return Path(os.environ.get("ZEROFLOW_HOME") or "~/.zeroflow").expanduser()


def host_url(home: Path | None = None) -> str:
    """Return the URL of the host that the user means, without a slash at its end."""
    if url := os.environ.get("ZEROFLOW_URL"):
        if not url.startswith(("http://", "https://")):
            raise InvalidInput(f"ZEROFLOW_URL must be an http or https URL, got {url!r}")
        return url.rstrip("/")
    home = home or Path(os.environ.get("ZEROFLOW_HOME") or "~/.zeroflow")
    file = home.expanduser() / "host.json"
    try:
        return str(json.loads(file.read_text())["url"]).rstrip("/")
    except FileNotFoundError:
        return DEFAULT_URL
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{file} does not name a host: {error}; start it anew with `zeroflow up`") from error


def authorization(home: Path | None = None) -> dict[str, str]:
    """Return the header that a host beyond loopback asks for: ZEROFLOW_TOKEN, or the token of the host's own home.

    The home's token is for the host of this home alone: it does not go to a URL that ZEROFLOW_URL names.
    """
    token = os.environ.get("ZEROFLOW_TOKEN", "")
    if not token and not os.environ.get("ZEROFLOW_URL"):
        home = (home or Path(os.environ.get("ZEROFLOW_HOME") or "~/.zeroflow")).expanduser()
        if (home / "host.json").exists():
            with contextlib.suppress(OSError):
                token = (home / "secrets" / "platform.token").read_text().strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


class Host:
    """HTTP to the running host."""

    def __init__(self, url: str, headers: Mapping[str, str] | None = None) -> None:
        self.url = url
        self._headers = {"Content-Type": "application/json", **(authorization() if headers is None else headers)}
        self._pool = urllib3.PoolManager(timeout=TIMEOUT, retries=False)

    def json(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        """Ask for JSON; raise Refused with the host's own words, or Unavailable when nothing answers."""
        return json.loads(self._ask(method, path, body, query) or b"{}")

    def text(self, path: str) -> str:
        """Ask for text."""
        return self.raw(path).decode(errors="replace")

    def raw(self, path: str) -> bytes:
        """Ask for bytes."""
        return self._ask("GET", path, None, None)

    def _ask(self, method: str, path: str, body: Any, query: Mapping[str, str] | None) -> bytes:
        try:
            answer = self._pool.request(
                method,
                self.url + path,
                body=None if body is None else json.dumps(body).encode(),
                fields=query,
                headers=self._headers,
            )
        except urllib3.exceptions.HTTPError as error:
            raise Unavailable(f"nothing answers at {self.url}; start it with `zeroflow up`") from error
        if answer.status >= 400:
            raise Refused(answer.status, _message(answer.data) or f"{self.url}{path} answered {answer.status}")
        return answer.data


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return " ".join(body.decode(errors="replace").split())[:500]
