"""`zeroflow store`: objects in and out of the store of the running host."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
import urllib3

from zeroflow.artifacts import parse
from zeroflow.cli.host import authorization, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Objects in the local store; an upload wakes whoever waits for it."
)

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]


@app.command()
def put(file: Path, uri: str, output: Output = "table") -> None:
    """Upload FILE to store://BUCKET/KEY and announce it as an S3-style event."""
    if not file.is_file():
        fail(f"{file} is no file")
    with file.open("rb") as body:
        answer = _request("PUT", uri, body=body, length=file.stat().st_size)
    if output == "json":
        as_json(answer.json())
        return
    typer.echo(f"{answer.json()['uri']}  {answer.json()['size_bytes']} bytes  sha256 {answer.json()['sha256']}")


@app.command()
def get(uri: str, file: Path) -> None:
    """Download store://BUCKET/KEY to FILE."""
    answer = _request("GET", uri)
    file.write_bytes(answer.data)
    typer.echo(f"{file}  {len(answer.data)} bytes")


@app.command("list")
def list_objects(uri: str, output: Output = "table") -> None:
    """List what lies below store://BUCKET/PREFIX."""
    try:
        location = parse(uri)
    except ZeroflowError as error:
        fail(str(error))
    answer = _request("GET", f"store://{location.bucket}/", fields={"prefix": location.key})
    if output == "json":
        as_json(answer.json())
    else:
        as_table(["size_bytes", "uri"], answer.json()["objects"])


def _request(method: str, uri: str, length: int | None = None, **options: object) -> urllib3.BaseHTTPResponse:
    try:
        location = parse(uri)
        if location.scheme != "store":
            fail(f"{uri} is not in the local store: expected store://BUCKET/KEY")
        url = f"{host_url()}/objects/{location.bucket}/{quote(location.key)}"
        headers = authorization() | ({} if length is None else {"Content-Length": str(length)})
        answer = urllib3.request(method, url, headers=headers, retries=False, timeout=300.0, **options)  # type: ignore[arg-type]
    except (ZeroflowError, urllib3.exceptions.HTTPError) as error:
        fail(str(error))
    if answer.status >= 400:
        fail(answer.data.decode(errors="replace").strip())
    return answer
