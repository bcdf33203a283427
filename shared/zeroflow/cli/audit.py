"""`zeroflow audit`: check the audit trail of the running host, and read it."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError

app = typer.Typer(no_args_is_help=True, help="Who changed or used what: verify and export the trail.")

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]
API = "/api/model_registry/zeroflow/audit"


@app.command()
def verify(
    expect: Annotated[str | None, typer.Option(help="SEQ:HASH that an earlier verification printed.")] = None,
    output: Output = "table",
) -> None:
    """Check the hash chain; name the first broken record and end with 1 when there is one."""
    try:
        verdict = Host(host_url()).json("GET", f"{API}/verify", query={"expect": expect} if expect else None)
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(verdict)
    if not verdict["ok"]:
        fail(f"the audit trail is broken at record {verdict['brokenRecord']}: {verdict['reason']}")
    if output != "json":
        typer.echo(f"{verdict['records']} records, unbroken; keep this elsewhere: {verdict['head']}")


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
            "time": datetime.fromtimestamp(one["time_ms"] / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
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


def _milliseconds(time: str | None) -> str | None:
    if time is None:
        return None
    try:
        parsed = datetime.fromisoformat(time)
    except ValueError:
        fail(f"{time!r} is no time: expected 2026-01-31 or 2026-01-31T12:00:00Z", 2)
    return str(int(parsed.astimezone().timestamp() * 1000))
