"""`zeroflow up`: run the embedded host in this terminal."""

import asyncio
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli.output import fail
from zeroflow.errors import ZeroflowError

EXTRAS = {"kfp": "step", "kubernetes": "inference", "sklearn": "predictor"}
"""What some functions need beyond the platform's own packages: a module, and the extra that brings it."""


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
    from zeroflow.knative.local.host import HostOptions, run

    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    options = HostOptions(
        home=home.expanduser().absolute(),
        port=port,
        listen=listen,
        database_url=database,
        stable_window_s=stable_window,
        runtime_retention_s=runtime_retention,
        tls_certificate=tls_cert,
        tls_key=tls_key,
        allowed_hosts=tuple(name.lower() for name in allow_host or ()),
    )

    async def host() -> None:
        loop = asyncio.get_running_loop()
        started = loop.create_future()
        serving = loop.create_task(run(options, started))
        await asyncio.wait({serving, started}, return_when=asyncio.FIRST_COMPLETED)
        if started.done():
            urls = started.result()
            typer.echo(f"zeroflow is up: {urls.base}   home: {options.home}")
            typer.echo(f"  kubectl --kubeconfig {options.home / 'kubeconfig'} get ksvc -A", err=True)
            if options.exposed:
                typer.echo(
                    f"  from other machines: https at port {urls.port}, with the certificate and token of that file "
                    "(kubectl config get-contexts)",
                    err=True,
                )
            typer.echo("  zeroflow run pipeline.py      (in another terminal; Ctrl-C here stops the host)", err=True)
            if missing := lacking():
                typer.echo(
                    f"  the packages of some functions are missing; until they are there, {', '.join(missing)} cannot "
                    f"work: pip install 'zeroflow[{','.join(missing)}]'",
                    err=True,
                )
        await serving

    try:
        asyncio.run(host())
    except ZeroflowError as error:
        fail(str(error))


def lacking() -> list[str]:
    """Return the functions, which are extras too, whose packages are not installed."""
    return [extra for module, extra in EXTRAS.items() if find_spec(module) is None]
