"""`zeroflow images`: which directory of this machine stands for a container image."""

from pathlib import Path
from typing import Annotated

import typer

from zeroflow.cli.host import home_directory
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.errors import ZeroflowError
from zeroflow.images import Images, Mapped

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Images on this machine: a directory stands for each."
)

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]


@app.command("map", context_settings={"ignore_unknown_options": True})
def map_image(image: str, directory: Path, command: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Let DIRECTORY, a virtual environment or a folder, stand for IMAGE; COMMAND is what the image starts by itself."""
    try:
        _images().map(image, Mapped(directory, tuple(command or ())))
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(
        f"{image} is {directory.resolve()} on this machine; steps, trials and Jobs of this image use it from now on"
    )


@app.command()
def unmap(image: str) -> None:
    """Forget what stands for IMAGE."""
    try:
        _images().unmap(image)
    except ZeroflowError as error:
        fail(str(error))
    typer.echo(f"{image} is not mapped any more")


@app.command("list")
def list_images(output: Output = "table") -> None:
    """List the images that are mapped."""
    try:
        known = _images().all()
    except ZeroflowError as error:
        fail(str(error))
    rows = [
        {"image": image, "directory": str(found.directory), "command": list(found.command)}
        for image, found in sorted(known.items())
    ]
    if output == "json":
        as_json(rows)
    else:
        as_table(["image", "directory", "command"], [{**row, "command": " ".join(row["command"])} for row in rows])


def _images() -> Images:
    return Images(home_directory())
