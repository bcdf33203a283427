"""`zeroflow repair`: make a home usable again whose databases are damaged."""

from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli.output import as_table, fail
from zeroflow.errors import ZeroflowError


def repair(
    home: Annotated[Path, typer.Option(envvar="ZEROFLOW_HOME", help="Directory of everything that is kept.")] = Path(
        "~/.zeroflow"
    ),
) -> None:
    """Replace damaged databases by what can still be read of them; the damaged files are kept beside them.

    The host must not run. Databases that are whole are left alone.
    """
    from zeroflow.knative.local.home import Home
    from zeroflow.knative.local.repair import damage
    from zeroflow.knative.local.repair import repair as repaired

    place = Home(home.expanduser().absolute())
    if not place.db.is_dir():
        fail(f"{place.root} is no home of a host: there is no {place.db.name}/ in it")
    rows = []
    try:
        lock = place.lock()
        for path in sorted(place.db.glob("*.sqlite")):
            if (what := damage(path)) is None:
                typer.echo(f"{path.name}: whole", err=True)
                continue
            typer.echo(f"{path.name}: {what}", err=True)
            rows += [
                {
                    "database": found.database,
                    "table": found.table,
                    "kept": found.kept,
                    "lost": found.lost if found.whole else f"{found.lost} and what lay on damaged pages",
                }
                for found in repaired(path)
                if found.lost or not found.whole or found.kept
            ]
        lock.release()
    except ZeroflowError as error:
        fail(str(error))
    if rows:
        as_table(["database", "table", "kept", "lost"], rows)
        typer.echo(f"\nThe damaged files are kept as {place.db}/*.damaged-*. Start the host: zeroflow up", err=True)
