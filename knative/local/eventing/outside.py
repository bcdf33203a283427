"""HTTP to receivers that are not of this host.

Guarantees: names are judged after resolution, at the moment of the connection, so a name cannot be pointed at
loopback or link-local addresses later (DNS rebinding); redirects are not followed; an answer is read up to a limit;
no environment proxies.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from zeroflow.knative.local.eventing.destinations import is_loopback_or_link_local
from zeroflow.knative.local.eventing.errors import NoAnswer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""


class GuardedResolver(AbstractResolver):
    """Resolves names and withholds addresses that must not be reached."""

    def __init__(self) -> None:
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the allowed addresses; raise OSError when none is left."""
        found = await self._inner.resolve(host, port, family)
        allowed = [each for each in found if not is_loopback_or_link_local(each["host"])]
        if not allowed:
            raise OSError(None, f"{host} resolves to loopback or link-local addresses only, which are not delivered to")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""
        await self._inner.close()


class OutsideClient:
    """A client session that opens on first use."""

    def __init__(self, max_answer_bytes: int, *, allow_loopback: bool) -> None:
        self._max_answer_bytes, self._allow_loopback = max_answer_bytes, allow_loopback
        self._session: aiohttp.ClientSession | None = None

    async def post(self, uri: str, headers: Mapping[str, str], body: bytes, timeout_s: float) -> Reply:
        """POST and return the answer; raise NoAnswer."""
        if self._session is None:
            resolver = None if self._allow_loopback else GuardedResolver()
            connector = aiohttp.TCPConnector(limit=0, resolver=resolver, keepalive_timeout=15)
            self._session = aiohttp.ClientSession(
                connector=connector, auto_decompress=True, cookie_jar=aiohttp.DummyCookieJar()
            )
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._session.post(
                uri,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                skip_auto_headers=["User-Agent"],
            ) as response:
                answer = await response.content.read(self._max_answer_bytes + 1)
                while len(answer) <= self._max_answer_bytes and not response.content.at_eof():
                    answer += await response.content.read(self._max_answer_bytes + 1 - len(answer))
                if len(answer) > self._max_answer_bytes:
                    response.close()
                    raise NoAnswer(f"the answer is larger than {self._max_answer_bytes} bytes")
                return Reply(response.status, lowered(response.headers), answer)
        except TimeoutError as error:
            raise NoAnswer(f"no answer within {timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
            await asyncio.sleep(0)


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """Return headers under lower-case names."""
    return {name.lower(): value for name, value in headers.items()}
