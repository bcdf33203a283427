"""How commands speak: answers to stdout, the rest to stderr; `-o json` for programs; one line for a failure."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer


def fail(message: str, code: int = 1) -> NoReturn:
    """Say in one line what went wrong and end with the exit code."""
    typer.secho(f"zeroflow: {message}", fg="red" if sys.stderr.isatty() else None, err=True)
    raise typer.Exit(code)


def as_json(value: Any) -> None:
    """Print a value for programs."""
    import orjson

    typer.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def as_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Print rows in aligned columns, headed by the upper-case column names."""
    cells = [[str(row.get(column, "")) for column in columns] for row in rows]
    widths = [
        max(len(column), *(len(row[at]) for row in cells)) if cells else len(column)
        for at, column in enumerate(columns)
    ]
    for line in ([column.upper() for column in columns], *cells):
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
