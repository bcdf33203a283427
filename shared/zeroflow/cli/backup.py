"""`zeroflow backup` and `zeroflow restore`: a home as one file, and back."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli import homes
from zeroflow.cli.output import fail
from zeroflow.errors import ZeroflowError

QUIET_S = 2.0
"""After so long, progress is shown."""
Home = Annotated[Path, typer.Option(envvar="ZEROFLOW_HOME", help="The home.")]


def backup(
    file: Annotated[Path, typer.Argument(help="The backup, a tar file; it must not be there.")],
    home: Home = Path("~/.zeroflow"),
) -> None:
    """Write all that a home holds into FILE; a host may be running on it and goes on."""
    try:
        made = homes.back_up(home.expanduser().absolute(), file.absolute(), _Progress("backed up"))
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{file}: {made.files} files, {_size(made.size_bytes)}; writers waited {made.held_ms:.0f} ms")
    typer.echo(
        f"it holds the home's keys: keep it as they are kept. Next: zeroflow restore {file} --home DIR", err=True
    )


def restore(
    file: Annotated[Path, typer.Argument(help="What `zeroflow backup` wrote.")],
    home: Home = Path("~/.zeroflow"),
) -> None:
    """Make a home from a backup, where there is none."""
    target = home.expanduser().absolute()
    try:
        made = homes.restore(file.absolute(), target, _Progress("restored"))
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{target}: {made.files} files, {_size(made.size_bytes)}")
    typer.echo(f"next: zeroflow up --home {target}", err=True)


class _Progress:
    """Says once a second how far it is, once it has taken a while."""

    def __init__(self, verb: str) -> None:
        self._verb, self._next = verb, time.monotonic() + QUIET_S

    def __call__(self, what: str, done: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + 1.0
            sys.stderr.write(f"{_size(done)} {self._verb}, at {what[-60:]}\n")


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
