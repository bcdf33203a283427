"""`zeroflow models serve`: a predictor for a model on this disk, in this terminal, without a host and without YAML."""

import os
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli.host import home_directory
from zeroflow.cli.output import fail

WORKER = "zeroflow.functions.predictor.worker.QuickWorker"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def serve(
    path: Annotated[Path, typer.Argument(metavar="DIR", help="A model's file or directory.", exists=True)],
    name: Annotated[str | None, typer.Option(help="The model's name in URLs; else that of the directory.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where it answers.")] = 8000,
    listen: Annotated[str, typer.Option(help="Address.")] = "127.0.0.1",
    many: Annotated[bool, typer.Option("--many", help="DIR holds several models, each in a directory.")] = False,
    threads: Annotated[int, typer.Option(min=1, help="Requests at once.")] = 8,
) -> None:
    """Serve a model until Ctrl-C: V1 and V2 REST, gRPC, metrics.

    Naming a pickle here is your word for it: it is loaded, and loading runs what its author wrote.
    """
    if find_spec("numpy") is None:
        fail("the predictor's packages are missing: pip install 'zeroflow[predictor]'")
    path = path.resolve()
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "-", path.stem if path.is_file() else path.name).strip("-.") or "model"
    if not _NAME.fullmatch(name):
        fail(f"--name {name!r}: expected letters, digits, '-', '_' and '.'", 2)
    environment = os.environ | {
        "MODEL_NAME": name,
        "STORAGE_URI": f"pvc://model/{path.name}",
        "ZEROFLOW_CLAIM": str(path.parent),
        "ZEROFLOW_MODEL_VOUCHED_BY": "zeroflow models serve",
        "ZEROFLOW_MODEL_CACHE": os.environ.get("ZEROFLOW_MODEL_CACHE") or str(home_directory() / "cache" / "models"),
        "ZEROFLOW_MULTI_MODEL": "true" if many else "false",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        "PORT": str(port),
    }
    url = f"http://{listen}:{port}"
    typer.echo(f"serving {path} as {name}: {url}", err=True)
    typer.echo(f"  curl -d '{{\"instances\": [[...]]}}' {url}/v1/models/{name}:predict", err=True)
    command = [
        *(sys.executable, "-m", "gunicorn", "zeroflow.functions.predictor.handler:create_app()"),
        *(f"--bind={listen}:{port}", "--workers=1", f"--worker-class={WORKER}", f"--threads={threads}"),
        *("--timeout=0", "--log-level=warning"),
    ]
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606 - this process becomes the server
