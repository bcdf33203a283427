"""`zeroflow events`: what came to the running host, and what became of it."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import urllib3

from zeroflow.cli.host import authorization, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError

app = typer.Typer(add_completion=False, help="What happened: events and what became of them.")

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]
_COLUMNS = ("accepted", "type", "subject", "id", "deliveries")


@app.callback(invoke_without_command=True)
def events(
    ctx: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing events as they come.")] = False,
    type: Annotated[str | None, typer.Option(help="Only this type; * stands for anything.")] = None,  # noqa: A002
    source: Annotated[str | None, typer.Option(help="Only this source; * stands for anything.")] = None,
    since: Annotated[str | None, typer.Option(help="Only later ones: an age (10m, 2h) or an RFC 3339 time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", help="How many of the latest.")] = 20,
    output: Output = "table",
) -> None:
    """Print the latest events, oldest first."""
    if ctx.invoked_subcommand is not None:
        return
    _check(output)
    wanted = {"type": type, "source": source, "since": since, "limit": str(limit)}
    fields = {name: value for name, value in wanted.items() if value is not None}
    if follow:
        for line in _lines({**fields, "follow": "true"}):
            typer.echo(line if output == "json" else _row_text(_json(line.encode())))
        return
    found = _get(fields)["events"]
    if output == "json":
        as_json(found)
    elif found:
        as_table(_COLUMNS, [_row(event) for event in found])
        typer.echo("\nzeroflow events show ID tells who got one and what they answered", err=True)
    else:
        typer.echo("no events", err=True)


@app.command()
def show(event_id: Annotated[str, typer.Argument(metavar="ID")], output: Output = "table") -> None:
    """Tell who got an event, how often, and what they answered."""
    _check(output)
    found = _get({"id": event_id})["events"]
    if output == "json":
        as_json(found)
        return
    for story in found:
        _tell(story)


@app.command()
def replay(
    event_id: Annotated[str, typer.Argument(metavar="ID")],
    trigger: Annotated[str | None, typer.Option(help="Only to this trigger's subscriber.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Under a new id, so that its work is done again.")] = False,
) -> None:
    """Send an event to its broker once more.

    Under its old id a function that has handled it answers as it did then and does nothing twice - for 7 days, or
    what ZEROFLOW_EVENT_RETENTION_DAYS says.
    """
    fields = {"id": event_id, **({"trigger": trigger} if trigger else {}), **({"fresh": "true"} if fresh else {})}
    query = urllib.parse.urlencode(fields)
    try:
        url, headers = f"{host_url()}/eventing?{query}", _authorization()
        answer = urllib3.request("POST", url, headers=headers, retries=False, timeout=30.0)
    except (ZeroflowError, urllib3.exceptions.HTTPError) as error:
        fail(str(error))
    said = _json(answer.data)
    if answer.status != 202:
        fail(said.get("error", f"the host answered {answer.status}"))
    receivers = ", ".join(said["triggers"]) or "nobody: no trigger matched"
    typer.echo(f"event {said['id']} was sent again as number {said['seq']}, to {receivers}")
    typer.echo(f"\nzeroflow events show {said['seq']} tells what they answered", err=True)


def _authorization() -> dict[str, str]:
    """Return the platform's token when this user may read it: events of the platform itself need it."""
    home = Path(os.environ.get("ZEROFLOW_HOME") or "~/.zeroflow").expanduser()
    token = os.environ.get("ZEROFLOW_TOKEN")
    try:
        token = token or (home / "secrets" / "platform.token").read_text().strip()
    except OSError:
        return {}
    return {"Authorization": f"Bearer {token}"}


def _tell(story: dict[str, Any]) -> None:
    event = story["event"]
    place = (
        f"{story['namespace']}/{story['broker']}" if story["broker"] else f"{story['namespace']} (straight to a sink)"
    )
    lines = [("event", f"{event['id']}  (number {story['seq']})"), ("type", event["type"]), ("source", event["source"])]
    lines += [("subject", event["subject"])] if event.get("subject") else []
    lines += [("accepted", story["accepted"]), ("broker", place)]
    if story["cause"]:
        cause = story["cause"]
        lines.append(("reply to", f"{cause['type']}  {cause['id']}  by {cause['replied_by']}"))
    for name, value in lines:
        typer.echo(f"{name:<9} {value}")
    if not story["deliveries"]:
        typer.echo("nobody wanted it: no trigger matched")
    for delivery in story["deliveries"]:
        due = f", next attempt {delivery['due']} to the {delivery['next']}" if delivery["due"] else ""
        why = f": {delivery['why']}" if delivery["why"] else ""
        typer.echo(f"\n{delivery['subscriber']}: {delivery['state']}{why}{due}")
        for attempt in delivery["attempts"]:
            answer = attempt["error"] or f"answered {attempt['status']}"
            replied = f", replied {attempt['reply']['type']} {attempt['reply']['id']}" if attempt["reply"] else ""
            took = f"{attempt['duration_s'] * 1000:.1f} ms"
            typer.echo(f"  {attempt['number']}  {attempt['started']}  {took}  {attempt['to']}  {answer}{replied}")
    typer.echo("")


def _row(event: dict[str, Any]) -> dict[str, str]:
    tally = ", ".join(f"{count} {state}" for state, count in sorted(event["deliveries"].items()))
    return {**{name: str(event[name] or "-") for name in _COLUMNS[:-1]}, "deliveries": tally or "none"}


def _row_text(event: dict[str, Any]) -> str:
    return "  ".join(_row(event).values())


def _check(output: str) -> None:
    if output not in {"table", "json"}:
        fail(f"-o {output}: expected table or json", 2)


def _get(fields: dict[str, str]) -> Any:
    try:
        answer = urllib3.request(
            "GET", f"{host_url()}/eventing", fields=fields, headers=authorization(), retries=False, timeout=30.0
        )
    except (ZeroflowError, urllib3.exceptions.HTTPError) as error:
        fail(str(error))
    found = _json(answer.data)
    if answer.status != 200:
        fail(found.get("error", f"the host answered {answer.status}"))
    return found


def _lines(fields: dict[str, str]) -> Iterator[str]:
    """Yield the lines of the live stream until it ends or the user stops it."""
    timeout = urllib3.Timeout(connect=5.0, read=None)
    rest = b""
    try:
        with urllib3.PoolManager() as pool:
            answer = pool.request(
                "GET",
                f"{host_url()}/eventing",
                fields=fields,
                headers=authorization(),
                retries=False,
                timeout=timeout,
                preload_content=False,
            )
            if answer.status != 200:
                fail(_json(answer.data).get("error", f"the host answered {answer.status}"))
            for chunk in answer.read_chunked():
                *lines, rest = (rest + chunk).split(b"\n")
                yield from (line.decode() for line in lines)
    except KeyboardInterrupt:
        return
    except (ZeroflowError, urllib3.exceptions.HTTPError) as error:
        fail(str(error))


def _json(body: bytes) -> Any:
    import orjson

    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return {"error": body.decode(errors="replace").strip() or "the host gave no answer"}
