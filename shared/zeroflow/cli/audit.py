"""`zeroflow audit`: check the audit trail of the running host, and read it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli import archives, registered
from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Who changed or used what: verify, export and prune the trail."
)

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]
API = "/api/model_registry/zeroflow/audit"


@app.command()
def verify(
    expect: Annotated[str | None, typer.Option(help="SEQ:HASH that an earlier verification printed.")] = None,
    archive: Annotated[Path | None, typer.Option(help="Records that were pruned: check them too.")] = None,
    output: Output = "table",
) -> None:
    """Check the hash chain; name the first broken record and end with 1 when there is one."""
    try:
        verdict = Host(host_url()).json("GET", f"{API}/verify", query={"expect": expect} if expect else None)
        archived = archives.check(archive) if archive else None
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json({**verdict, "archived": archived.count if archived else None})
    if not verdict["ok"]:
        fail(f"the audit trail is broken at record {verdict['brokenRecord']}: {verdict['reason']}")
    if archived and verdict["base"] != archived.end:
        fail(
            f"the archive ends with {archived.end or 'nothing'}; the trail goes on after {verdict['base'] or 'nothing'}"
        )
    if output != "json":
        before = f" after {archived.count} in the archive" if archived else ""
        typer.echo(f"{verdict['records']} records{before}, unbroken; keep this elsewhere: {verdict['head']}")


@app.command()
def prune(
    before: Annotated[str, typer.Option(help="Records before this time leave: 2026-01-31 or 2026-01-31T12:00:00Z.")],
    archive: Annotated[Path, typer.Option(help="The file that they are added to, as JSON lines; keep it.")],
) -> None:
    """Move old records into an archive; trail and archive together stay verifiable."""
    until = _milliseconds(before)
    try:
        host = Host(host_url())
        verdict = host.json("GET", f"{API}/verify")
        if not verdict["ok"]:
            fail(f"nothing was pruned: the trail is broken at record {verdict['brokenRecord']}: {verdict['reason']}")
        lines = host.text(f"{API}?until_ms={until}").splitlines()
        if lines and archives.mark_of(lines[-1]) == verdict["head"]:
            lines.pop()  # the newest record stays, so that the chain goes on
        if not lines:
            typer.echo(f"no record is older than {before}")
            return
        archived = archives.add(archive, lines, verdict["base"])
        host.json("POST", f"{API}/prune", {"until": archived.end})
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{len(lines)} records moved to {archive}, which holds {archived.count} up to {archived.end}")


@app.command()
def uses(
    model: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[str, typer.Argument(help="One of its versions.")],
    output: Output = "table",
) -> None:
    """Show who asked a version for predictions, how often, by revision."""
    try:
        host = Host(host_url())
        found = registered.find(host, model, version)
        items = host.json("GET", f"{API}/uses", query={"version": found["id"]})["items"]
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(items)
        return
    rows = [
        {
            "caller": one["caller"],
            "revision": one["revision"],
            "requests": one["requests"],
            "first": _shown(one["firstMs"]),
            "last": _shown(one["lastMs"]),
        }
        for one in items
    ]
    as_table(["caller", "revision", "requests", "first", "last"], rows)


@app.command()
def export(
    since: Annotated[str | None, typer.Option(help="From this time on: 2026-01-31 or 2026-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
) -> None:
    """Print records as JSON lines, oldest first."""
    typer.echo(_read(since, until), nl=False)


@app.command("list")
def list_records(
    entity: Annotated[str | None, typer.Argument(help="Only of TYPE/ID, such as model_version/12.")] = None,
    limit: Annotated[int, typer.Option(help="The newest so many.")] = 50,
) -> None:
    """Show the newest records."""
    records = [json.loads(line) for line in _read(None, None, entity).splitlines()][-limit:]
    rows = [
        {
            "record": one["seq"],
            "time": _shown(one["time_ms"]),
            "who": one["actor"] + ("" if one["authenticated"] else " (not checked)"),
            "what": one["verb"],
            "of": f"{one['entity_type']}/{one['entity_id']}",
            "name": one["entity_name"],
        }
        for one in records
    ]
    as_table(["record", "time", "who", "what", "of", "name"], rows)


def _read(since: str | None, until: str | None, entity: str | None = None) -> str:
    asked = {"since_ms": _milliseconds(since), "until_ms": _milliseconds(until), "entity": entity}
    query = "&".join(f"{name}={value}" for name, value in asked.items() if value is not None)
    try:
        return Host(host_url()).text(f"{API}?{query}")
    except ZeroflowError as error:
        fail(str(error))


def _shown(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _milliseconds(time: str | None) -> str | None:
    if time is None:
        return None
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        fail(f"{time!r} is no time: expected 2026-01-31 or 2026-01-31T12:00:00Z", 2)
    return str(int(parsed.astimezone().timestamp() * 1000))
