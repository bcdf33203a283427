"""`zeroflow users`: the people of a home besides its owner, each with a token."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from zeroflow.cli.host import home_directory
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError
from zeroflow.knative.local.identity.users import FILE, Users

app = typer.Typer(no_args_is_help=True, help="People who may use this host; roles say what for.")


@app.command()
def add(
    name: str,
    group: Annotated[list[str] | None, typer.Option(help="A group that the user is in; may be given again.")] = None,
) -> None:
    """Add a user and print the token, which is not shown again."""
    added = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    try:
        token = _users().add(name, group or [], added)
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(token)
    home = home_directory()
    if not (home / "host.json").exists():
        typer.echo(f"no host runs on {home}, where {name} was added; ZEROFLOW_HOME names another home", err=True)
    typer.echo(
        f"{name} may do nothing yet; give a role, as on a cluster:\n"
        f"  kubectl create rolebinding {name}-edit --clusterrole=edit --user={name} --namespace=default\n"
        f"and the token to kubectl (--token=...), to clients (Authorization: Bearer ...) or as ZEROFLOW_TOKEN",
        err=True,
    )


@app.command("list")
def list_users(output: Annotated[str, typer.Option("--output", "-o", help="table or json")] = "table") -> None:
    """List the users."""
    try:
        users = _users().all()
    except ZeroflowError as error:
        fail(str(error))
    if output == "json":
        as_json(users)
    else:
        as_table(["name", "groups", "added"], [{**one, "groups": ",".join(one["groups"])} for one in users])


@app.command()
def remove(name: str) -> None:
    """Remove a user; the token is worth nothing at once."""
    try:
        _users().remove(name)
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{name} is removed; bindings that name {name} stay, and take effect if somebody gets this name again")


def _users() -> Users:
    return Users(home_directory() / "secrets" / FILE)
