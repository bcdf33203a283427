"""`zeroflow load`: steady traffic for an InferenceService, and how long the answers took.

Requests are sent when they are due, whether or not earlier ones were answered, and a latency counts from that
moment: a service that falls behind cannot hide it.
"""

import asyncio
import math
import re
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from zeroflow.cli.host import authorization
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.serving import endpoint, read_body
from zeroflow.errors import InvalidInput, ZeroflowError

MAX_OPEN = 512
"""Requests that may wait for an answer at once; beyond, a due request is not sent but counted as missed."""
PLOT_ROWS, PLOT_WIDTH = 16, 50
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass
class Outcome:
    """What a load has shown."""

    latencies_s: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    revisions: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    elapsed_s: float = 0.0

    def quantile(self, share: float) -> float:
        """Return a quantile of the latencies in seconds; NaN without any."""
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan


def load(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The InferenceService, or the TrainedModel.")],
    data: Annotated[str, typer.Option("-d", "--data", help='JSON, "@file", or "-" for standard input.')],
    rps: Annotated[float, typer.Option(min=0.1, max=100_000, help="Requests per second.")] = 100.0,
    span: Annotated[str, typer.Option("--for", help="How long: 500ms, 30s, 2m.")] = "10s",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "default",
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
) -> None:
    """Send requests at a steady rate and show how long the answers took."""
    try:
        seconds = _seconds(span)
        body = read_body(data)
        target = endpoint(name, namespace, body)
    except ZeroflowError as error:
        fail(str(error), 2 if isinstance(error, InvalidInput) else 1)
    outcome = asyncio.run(_run(target.url, body, rps, seconds))
    if output == "json":
        as_json(_told(outcome, rps))
    else:
        _show(outcome, rps)
    if outcome.missed or any(status != "200" for status in outcome.statuses):
        raise typer.Exit(1)


async def _run(url: str, body: bytes, rps: float, seconds: float) -> Outcome:
    import aiohttp

    outcome, count = Outcome(), max(1, round(rps * seconds))
    headers = {"Content-Type": "application/json", **authorization()}
    loop, open_now = asyncio.get_running_loop(), set[asyncio.Task[None]]()
    connector = aiohttp.TCPConnector(limit=MAX_OPEN)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:

        async def one(due_s: float) -> None:
            try:
                async with session.post(url, data=body) as answer:
                    await answer.read()
                    status, revision = str(answer.status), answer.headers.get("zeroflow-revision", "")
            except (aiohttp.ClientError, TimeoutError) as error:
                status, revision = type(error).__name__, ""
            outcome.latencies_s.append(loop.time() - due_s)
            outcome.statuses[status] += 1
            if revision:
                outcome.revisions[revision] += 1

        began, shown = loop.time(), 0.0
        for number in range(count):
            due_s = began + number / rps
            await asyncio.sleep(max(0.0, due_s - loop.time()))
            if len(open_now) >= MAX_OPEN:
                outcome.missed += 1
                continue
            task = loop.create_task(one(due_s))
            open_now.add(task)
            task.add_done_callback(open_now.discard)
            if sys.stderr.isatty() and time.monotonic() - shown > 0.5:
                shown = time.monotonic()
                typer.echo(f"\r{number + 1} of {count} sent, {len(open_now)} open ", nl=False, err=True)
        await asyncio.gather(*open_now)
        outcome.elapsed_s = loop.time() - began
    if shown:
        typer.echo("\r" + " " * 60 + "\r", nl=False, err=True)
    return outcome


def _told(outcome: Outcome, rps: float) -> dict[str, Any]:
    return {
        "requests": sum(outcome.statuses.values()),
        "missed": outcome.missed,
        "rps_wanted": rps,
        "rps": round(sum(outcome.statuses.values()) / outcome.elapsed_s, 2) if outcome.elapsed_s else 0.0,
        "statuses": dict(outcome.statuses),
        "revisions": dict(outcome.revisions),
        "latency_ms": {
            label: round(outcome.quantile(share) * 1000, 3)
            for label, share in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0))
        },
    }


def _show(outcome: Outcome, rps: float) -> None:
    told = _told(outcome, rps)
    typer.echo(f"{told['requests']} requests in {outcome.elapsed_s:.1f} s: {told['rps']} a second, {rps:g} wanted")
    if outcome.missed:
        typer.echo(f"{outcome.missed} were not sent: {MAX_OPEN} were waiting for an answer")
    typer.echo()
    as_table(["latency", "ms"], [{"latency": key, "ms": f"{ms:.2f}"} for key, ms in told["latency_ms"].items()])
    typer.echo()
    for line in plot(outcome.latencies_s):
        typer.echo(line)
    typer.echo()
    total = told["requests"] or 1
    for what, counts in (("status", outcome.statuses), ("revision", outcome.revisions)):
        rows = [{what: key, "requests": count, "share": f"{count / total:.1%}"} for key, count in counts.most_common()]
        if rows:
            as_table([what, "requests", "share"], rows)


def plot(latencies_s: list[float]) -> list[str]:
    """Return a histogram of latencies as lines; its bounds grow by a constant factor."""
    if not latencies_s:
        return []
    least, most = max(1e-6, min(latencies_s)), max(latencies_s)
    factor = max(1.1, (most / least) ** (1 / PLOT_ROWS)) if most > least else 2.0
    counts = Counter(min(PLOT_ROWS, int(math.log(max(each, least) / least, factor))) for each in latencies_s)
    highest = max(counts.values())
    lines = []
    for row in range(max(counts) + 1):
        bar = "█" * round(counts[row] / highest * PLOT_WIDTH) or ("▏" if counts[row] else "")
        lines.append(f"{least * factor**row * 1000:>9.2f} ms  {bar:<{PLOT_WIDTH}} {counts[row]}".rstrip())
    return lines


def _seconds(text: str) -> float:
    match = _SPAN.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise InvalidInput(f"--for {text!r}: expected a duration such as 500ms, 30s or 2m")
    return float(match[1]) * _UNITS[match[2] or "s"]
