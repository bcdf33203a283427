"""`zeroflow up`: run the embedded host in this terminal."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def up(
    home: Annotated[Path, typer.Option(envvar="ZEROFLOW_HOME", help="Directory of everything that is kept.")] = Path(
        "~/.zeroflow"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The one port; 0 takes any free one.")] = 8080,
    listen: Annotated[
        str, typer.Option(help="Address; beyond loopback the host speaks TLS and every request needs the token.")
    ] = "127.0.0.1",
    tls_cert: Annotated[
        Path | None, typer.Option(help="Certificate (PEM, with its chain) beyond loopback; by default one is made.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key (PEM), unless it is in the same file.")] = None,
    database: Annotated[
        str | None, typer.Option(envvar="ZEROFLOW_DATABASE_URL", help="Metadata database URL (default: SQLite).")
    ] = None,
    stable_window: Annotated[
        float, typer.Option(min=0.1, help="Seconds without requests after which a Service goes to zero.")
    ] = 50.0,
    runtime_retention: Annotated[
        float, typer.Option(min=0.0, help="Seconds that a preloaded parent process is kept after its last use.")
    ] = 600.0,
    allow_host: Annotated[list[str] | None, typer.Option(help="Another host name to answer to.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what the host does.")] = False,
) -> None:
    """Run the platform on this machine until Ctrl-C."""
    options = {
        "home": home.expanduser().absolute(),
        "port": port,
        "listen": listen,
        "database_url": database,
        "stable_window_s": stable_window,
        "runtime_retention_s": runtime_retention,
        "tls_certificate": tls_cert,
        "tls_key": tls_key,
        "allowed_hosts": [name.lower() for name in allow_host or ()],
        "verbose": verbose,
    }
    # The host stays; what has read the command line need not: the program takes this process's place.
    # Its options are in the environment, because others may read a command line and a database's URL has a password.
    program = [sys.executable, "-m", "zeroflow.knative.local.program"]
    told = os.environ | {"ZEROFLOW_HOST_OPTIONS": json.dumps(options, default=str)}
    os.execve(program[0], program, told)  # noqa: S606 - no shell is the point
