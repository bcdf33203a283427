"""`zeroflow models`: what the model registry of the running host knows, read over its REST API."""

from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zeroflow.cli.approving import approve, archive, reject, submit
from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.push import push
from zeroflow.cli.reproducing import reproduce
from zeroflow.cli.serve import serve
from zeroflow.cli.signing import pull, sign, verify
from zeroflow.errors import ZeroflowError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Registered models and their versions.")
for command in (push, pull, serve, sign, verify, submit, approve, reject, archive, reproduce):
    app.command()(command)

Output = Annotated[str, typer.Option("--output", "-o", help="table or json")]

API = "/api/model_registry/v1"
PAGE = "100"
NEWEST_FIRST = {"orderBy": "CREATE_TIME", "sortOrder": "DESC"}


class _Registry:
    """The registry's REST API at the host that the user means; a failure ends the command with one line."""

    def __init__(self) -> None:
        try:
            self._host = Host(host_url())
        except ZeroflowError as error:
            fail(str(error))

    def get(self, path: str, **query: str) -> Any:
        """GET one document."""
        try:
            return self._host.json("GET", f"{API}/{path}", query=query)
        except ZeroflowError as error:
            fail(str(error))
        except ValueError:
            fail(f"{self._host.url}{API} did not answer with JSON; is that a Zeroflow host?")

    def all(self, path: str, **query: str) -> list[Any]:
        """Read every page of a list."""
        items: list[Any] = []
        token = ""
        while True:
            page = self.get(path, **query, pageSize=PAGE, nextPageToken=token)
            items += page["items"]
            token = page["nextPageToken"]
            if not token:
                return items


@app.command("list")
def list_models(output: Output = "table") -> None:
    """List the registered models with their newest versions."""
    registry = _Registry()
    models = registry.all("registered_models")
    for model in models:
        newest = registry.get(f"registered_models/{model['id']}/versions", **NEWEST_FIRST, pageSize="1")["items"]
        model["newestVersion"] = newest[0]["name"] if newest else None
    if output == "json":
        as_json(models)
        return
    if not models:
        typer.echo(
            "no models; a pipeline's Model output with metadata register_as or `zeroflow models push` makes one",
            err=True,
        )
        return
    rows = [
        {
            "name": model["name"],
            "newest version": model["newestVersion"] or "-",
            "state": model["state"],
            "owner": model.get("owner", "-"),
            "updated": _time(model["lastUpdateTimeSinceEpoch"]),
        }
        for model in models
    ]
    as_table(["name", "newest version", "state", "owner", "updated"], rows)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The registered model.")],
    version: Annotated[str | None, typer.Argument(help="One of its versions.")] = None,
    output: Output = "table",
) -> None:
    """Show a model with its versions, or one version with its artifacts and where it came from."""
    registry = _Registry()
    model = registry.get("registered_model", name=name)
    if version is None:
        _show_model(registry, model, output)
    else:
        _show_version(registry, model, version, output)


def _show_model(registry: _Registry, model: dict[str, Any], output: str) -> None:
    versions = registry.all(f"registered_models/{model['id']}/versions", **NEWEST_FIRST)
    if output == "json":
        as_json({**model, "versions": versions})
        return
    typer.echo(f"{model['name']}  {model['state']}  id {model['id']}")
    if model.get("description"):
        typer.echo(model["description"])
    typer.echo()
    rows = [
        {
            "version": one["name"],
            "state": one["state"],
            "author": one.get("author", "-"),
            "run": _properties(one).get("run_name") or _properties(one).get("run_id", "-"),
            "created": _time(one["createTimeSinceEpoch"]),
        }
        for one in versions
    ]
    as_table(["version", "state", "author", "run", "created"], rows)


def _show_version(registry: _Registry, model: dict[str, Any], name: str, output: str) -> None:
    version = registry.get("model_version", name=name, parentResourceId=model["id"])
    artifacts = registry.all(f"model_versions/{version['id']}/artifacts")
    if output == "json":
        as_json({**version, "registeredModel": model["name"], "artifacts": artifacts})
        return
    typer.echo(f"{model['name']} version {version['name']}  {version['state']}  id {version['id']}")
    if version.get("description"):
        typer.echo(version["description"])
    for artifact in (one for one in artifacts if one["artifactType"] != "metric"):
        formatted = " ".join(filter(None, (artifact.get("modelFormatName"), artifact.get("modelFormatVersion"))))
        typer.echo(f"{artifact['artifactType']}  {artifact.get('uri', '-')}  {formatted}".rstrip())
    typer.echo()
    metrics = {one["name"]: one["value"] for one in artifacts if one["artifactType"] == "metric"}
    rows = [{"name": name, "value": value} for name, value in ({**_properties(version), **metrics}).items()]
    as_table(["name", "value"], sorted(rows, key=lambda row: str(row["name"])))


def _properties(entity: dict[str, Any]) -> dict[str, Any]:
    """Return an entity's custom properties without their types."""
    return {
        name: next((value for key, value in prop.items() if key.endswith("_value")), "")
        for name, prop in entity.get("customProperties", {}).items()
    }


def _time(milliseconds: str) -> str:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")
