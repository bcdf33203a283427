"""Probes of a pod: has it started, is it ready for requests, is it still alive.

An httpGet probe passes on 200-399, a tcpSocket probe on a connection, an exec probe on exit code 0, a grpc probe on
SERVING of the standard health service. Without `periodSeconds` a readiness probe is asked again after 50 ms, as
Knative's queue-proxy does, because a cold start waits for it. Source: Kubernetes core/v1 Probe; Knative runtime
contract; grpc.health.v1.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from zeroflow.errors import Unavailable
from zeroflow.knative.local.serving.exchange import Outgoing, Upstream

Object = dict[str, Any]

POLL_S = 0.05
PERIOD_S, FAILURES, TIMEOUT_S = 10.0, 3, 1.0
_SERVING = b"\x08\x01"  # HealthCheckResponse { status: SERVING }


@dataclass
class Prober:
    """Asks one pod. `execute` runs a command as the container and returns its exit code."""

    upstream: Upstream
    execute: Callable[[list[str]], Awaitable[int]]
    said: str = ""
    """Why the last probe failed."""

    async def until_passed(self, probe: Object, *, allowed: int | None = None) -> bool:
        """Ask until it passes `successThreshold` times in a row; False after `allowed` failures in a row."""
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        period_s = float(probe.get("periodSeconds") or POLL_S)
        needed = int(probe.get("successThreshold") or 1)
        passed = failed = 0
        while passed < needed:
            if await self.passes(probe):
                passed, failed = passed + 1, 0
            else:
                passed, failed = 0, failed + 1
                if allowed is not None and failed >= allowed:
                    return False
            if passed < needed:
                await asyncio.sleep(period_s)
        return True

    async def until_failed(self, probe: Object) -> None:
        """Ask every `periodSeconds` until it has failed `failureThreshold` times in a row."""
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        allowed = int(probe.get("failureThreshold") or FAILURES)
        failed = 0
        while failed < allowed:
            await asyncio.sleep(float(probe.get("periodSeconds") or PERIOD_S))
            failed = 0 if await self.passes(probe) else failed + 1

    async def passes(self, probe: Object) -> bool:
        """Ask once."""
        timeout_s = float(probe.get("timeoutSeconds") or TIMEOUT_S)
        try:
            async with asyncio.timeout(timeout_s):
                self.said = await self._ask(probe)
        except TimeoutError:
            self.said = f"no answer within {timeout_s:g} s"
        except Unavailable as error:
            self.said = str(error)
        return not self.said

    async def _ask(self, probe: Object) -> str:
        """Return "" when it passes, otherwise what was wrong."""
        if http := probe.get("httpGet"):
            return await self._get(http)
        if command := (probe.get("exec") or {}).get("command"):
            code = await self.execute([str(word) for word in command])
            return f"command {command[0]!r} ended with exit code {code}" if code else ""
        if "grpc" in probe:
            return await self._check(str(probe["grpc"].get("service") or ""))
        return "" if await self.upstream.connects() else f"nothing listens on port {self.upstream.port}"

    async def _get(self, http: Object) -> str:
        given = {header["name"].lower(): header["value"] for header in http.get("httpHeaders") or ()}
        headers = {"host": http.get("host") or "127.0.0.1", "user-agent": "kube-probe/zeroflow"} | given
        fields = [(name.encode(), value.encode()) for name, value in headers.items()]
        path = http.get("path") or "/"
        status, _ = await self._exchange(Outgoing("GET", path, fields))
        return "" if 200 <= status < 400 else f"GET {path} answered {status}"

    async def _check(self, service: str) -> str:
        name = service.encode()
        message = b"\x0a" + bytes([len(name)]) + name if name else b""
        fields = [(b"host", b"127.0.0.1"), (b"content-type", b"application/grpc")]
        body = b"\0" + len(message).to_bytes(4, "big") + message
        status, answer = await self._exchange(
            Outgoing("POST", "/grpc.health.v1.Health/Check", fields, body=body, trailers=True, grpc=True)
        )
        return "" if status == 200 and answer[5:] == _SERVING else f"grpc health of {service!r} is not SERVING"

    async def _exchange(self, request: Outgoing) -> tuple[int, bytes]:
        exchange = await self.upstream.send(request)
        chunks = []
        try:
            while chunk := await exchange.read_chunk():
                chunks.append(chunk)
        except BaseException:
            exchange.abort()
            raise
        finally:
            self.upstream.give(exchange)
        return exchange.status, b"".join(chunks)
