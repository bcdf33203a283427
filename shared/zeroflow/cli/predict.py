"""`zeroflow predict`: ask an InferenceService once."""

import time
from typing import Annotated

import typer
import urllib3

from zeroflow.cli.host import authorization
from zeroflow.cli.output import fail
from zeroflow.cli.serving import endpoint, read_body
from zeroflow.errors import InvalidInput, ZeroflowError


def predict(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The InferenceService, or the TrainedModel.")],
    data: Annotated[str, typer.Option("-d", "--data", help='JSON, "@file", or "-" for standard input.')],
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Its namespace.")] = "default",
) -> None:
    """Send one request and print the answer; V1 or V2, as the data say."""
    try:
        body = read_body(data)
        target = endpoint(name, namespace, body)
    except ZeroflowError as error:
        fail(str(error), 2 if isinstance(error, InvalidInput) else 1)
    began = time.perf_counter()
    headers = {"Content-Type": "application/json", **authorization()}
    try:
        answer = urllib3.request("POST", target.url, body=body, headers=headers, retries=False, timeout=600.0)
    except urllib3.exceptions.HTTPError as error:
        fail(f"{target.url} does not answer: {type(error).__name__}")
    elapsed_ms = (time.perf_counter() - began) * 1000
    text = answer.data.decode(errors="replace").rstrip("\n")
    if answer.status != 200:
        fail(f"{name} answered {answer.status}: {text[:2000]}")
    typer.echo(text)
    revision = answer.headers.get("zeroflow-revision")
    typer.echo(f"{elapsed_ms:.1f} ms{f'   revision {revision}' if revision else ''}", err=True)
