"""`zeroflow run`: compile if needed, submit, show progress, and at the end what came out and where it lies."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.compiling import definition_of
from zeroflow.cli.host import Host, authorization, host_url
from zeroflow.cli.output import as_json, fail
from zeroflow.cli.progress import follow, show_result
from zeroflow.errors import InvalidInput, ZeroflowError

API = "/apis/v2beta1"
SECOND_CTRL_C_S = 2.0


def run(
    file: Annotated[str, typer.Argument(help="FILE.py, FILE.py:PIPELINE or a compiled FILE.yaml.")],
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value, repeatable.")] = None,
    experiment: Annotated[str, typer.Option(help="Experiment, created when it is new.")] = "Default",
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")] = True,
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Reuse outputs of equal steps.")] = True,
    home: Annotated[Path | None, typer.Option(envvar="ZEROFLOW_HOME", help="Home of the host.")] = None,
) -> None:
    """Run a KFP pipeline and show its progress."""
    if output not in ("table", "json"):
        fail(f"--output must be table or json, got {output!r}", 2)
    try:
        path, _, pipeline = file.partition(".py:")
        documents = definition_of(Path(f"{path}.py" if pipeline else file), pipeline)
        values = parameters_of(documents[0], parameter or [])
    except InvalidInput as error:
        fail(str(error), 2)
    if not cache:
        without_cache(documents[0])
    try:
        host = Host(host_url(home), authorization(home))
        created = _submit(host, documents, values, name, experiment, namespace)
        if not wait:
            if output == "json":
                as_json(created)
            else:
                typer.echo(f"run {created['display_name']} started: {created['run_id']}")
                typer.echo(f"  see {host.url}{API}/runs/{created['run_id']}", err=True)
            return
        state = _follow(host, created)
        result = host.json("GET", f"{API}/runs/{created['run_id']}")
        tasks = host.json("GET", f"{API}/runs/{created['run_id']}/tasks")["tasks"]
        show_result(host, result, tasks, output)
    except ZeroflowError as error:
        fail(str(error))
    raise typer.Exit(0 if state == "SUCCEEDED" else 1)


def parameters_of(spec: dict[str, Any], given: list[str], *, complete: bool = True) -> dict[str, Any]:
    """Read name=value pairs as the types that the pipeline's inputs have.

    `complete` refuses when one is missing that has no default.
    """
    inputs = ((spec.get("root") or {}).get("inputDefinitions") or {}).get("parameters") or {}
    values: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInput(f"-p {pair}: expected name=value")
        if name not in inputs:
            raise InvalidInput(f"-p {name}: the pipeline has no such parameter; it has: {', '.join(inputs) or 'none'}")
        values[name] = _typed(name, text, str(inputs[name].get("parameterType")))
    missing = [
        name
        for name, spec in inputs.items()
        if complete and name not in values and not spec.get("isOptional") and spec.get("defaultValue") is None
    ]
    if missing:
        raise InvalidInput(f"missing: {' '.join(f'-p {name}=...' for name in missing)}")
    return values


def without_cache(spec: dict[str, Any]) -> None:
    """Turn the cache off for every task of a definition."""
    for component in (spec.get("root") or {}, *(spec.get("components") or {}).values()):
        for task in ((component.get("dag") or {}).get("tasks") or {}).values():
            task["cachingOptions"] = {}


def _typed(name: str, text: str, kind: str) -> Any:
    try:
        match kind:
            case "STRING":
                return text
            case "NUMBER_INTEGER":
                return int(text)
            case "NUMBER_DOUBLE":
                return float(text)
            case "BOOLEAN" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "LIST" | "STRUCT" if isinstance(value := json.loads(text), list if kind == "LIST" else dict):
                return value
    except ValueError:
        pass
    expected = {
        "NUMBER_INTEGER": "an integer",
        "NUMBER_DOUBLE": "a number",
        "BOOLEAN": "true or false",
        "LIST": "a JSON list",
        "STRUCT": "a JSON object",
    }
    raise InvalidInput(f"-p {name}: expected {expected.get(kind, kind)}, got {text!r}")


def _submit(
    host: Host, documents: list[dict[str, Any]], values: dict[str, Any], name: str, experiment: str, namespace: str
) -> Any:
    pipeline_name = str((documents[0].get("pipelineInfo") or {}).get("name") or "pipeline")
    spec = documents[0] if len(documents) == 1 else {"pipeline_spec": documents[0], "platform_spec": documents[1]}
    body = {
        "display_name": name or f"{pipeline_name} {time.strftime('%Y-%m-%d %H-%M-%S')}",
        "experiment_id": _experiment(host, experiment, namespace),
        "pipeline_spec": spec,
        "runtime_config": {"parameters": values},
    }
    return host.json("POST", f"{API}/runs", body)


def _experiment(host: Host, name: str, namespace: str) -> str:
    predicate = {"operation": "EQUALS", "key": "display_name", "string_value": name}
    query = {"namespace": namespace, "filter": json.dumps({"predicates": [predicate]})}
    found = host.json("GET", f"{API}/experiments", query=query).get("experiments")
    if found:
        return str(found[0]["experiment_id"])
    made = host.json("POST", f"{API}/experiments", {"display_name": name, "namespace": namespace})
    return str(made["experiment_id"])


def _follow(host: Host, created: dict[str, Any]) -> str:
    """Show progress until the run ends; Ctrl-C leaves it running, a second one cancels it."""
    run_id = created["run_id"]
    try:
        return follow(host, f"{API}/runs/{run_id}", created["display_name"])
    except KeyboardInterrupt:
        typer.echo(f"\ndetached: the run goes on, see {host.url}{API}/runs/{run_id}", err=True)
    try:
        typer.echo("press Ctrl-C again now to cancel it", err=True)
        time.sleep(SECOND_CTRL_C_S)
    except KeyboardInterrupt:
        host.json("POST", f"{API}/runs/{run_id}:terminate", {})
        typer.echo(f"canceled: {run_id}", err=True)
    raise typer.Exit(130)
