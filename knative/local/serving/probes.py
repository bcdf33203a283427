"""Probes of a pod: is it ready for requests, is it still alive.

An httpGet probe passes on 200-399, a tcpSocket probe on a connection. Without `periodSeconds` a readiness probe is
asked again after 50 ms, as Knative's queue-proxy does, because a cold start waits for it. Source: Kubernetes core/v1
Probe; Knative runtime contract.
"""

from __future__ import annotations

import asyncio
from typing import Any

from zeroflow.errors import Unavailable
from zeroflow.knative.local.serving.exchange import Outgoing, Upstream

Object = dict[str, Any]

POLL_S = 0.05
TIMEOUT_S = 1.0


async def until_passed(probe: Object, upstream: Upstream) -> None:
    """Ask until the probe passes `successThreshold` times in a row; the caller sets the deadline."""
    if delay_s := probe.get("initialDelaySeconds"):
        await asyncio.sleep(float(delay_s))
    period_s = float(probe.get("periodSeconds") or POLL_S)
    needed = int(probe.get("successThreshold") or 1)
    passed = 0
    while passed < needed:
        passed = passed + 1 if await passes(probe, upstream) else 0
        if passed < needed:
            await asyncio.sleep(period_s)


async def until_failed(probe: Object, upstream: Upstream) -> None:
    """Ask every `periodSeconds` until the probe has failed `failureThreshold` times in a row."""
    await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
    allowed = int(probe.get("failureThreshold") or 3)
    failed = 0
    while failed < allowed:
        await asyncio.sleep(float(probe.get("periodSeconds") or 10))
        failed = 0 if await passes(probe, upstream) else failed + 1


async def passes(probe: Object, upstream: Upstream) -> bool:
    """Ask once."""
    try:
        async with asyncio.timeout(float(probe.get("timeoutSeconds") or TIMEOUT_S)):
            return await _ask(probe, upstream)
    except (TimeoutError, Unavailable):
        return False


async def _ask(probe: Object, upstream: Upstream) -> bool:
    http = probe.get("httpGet")
    if http is None:
        return await upstream.connects()
    given = {header["name"].lower(): header["value"] for header in http.get("httpHeaders") or ()}
    headers = {"host": http.get("host") or "127.0.0.1", "user-agent": "kube-probe/zeroflow"} | given
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    exchange = await upstream.send(Outgoing("GET", http.get("path") or "/", fields))
    try:
        while await exchange.read_chunk():
            pass
    except BaseException:
        exchange.abort()
        raise
    finally:
        upstream.give(exchange)
    return 200 <= exchange.status < 400
