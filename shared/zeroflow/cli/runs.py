"""`zeroflow runs`: what became of runs, why two of them differ, and runs that go on from others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from zeroflow.cli.compiling import definition_of
from zeroflow.cli.kfp import API, Runs
from zeroflow.cli.logs import print_logs
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.progress import elapsed, follow, show_result
from zeroflow.cli.run import parameters_of
from zeroflow.errors import InvalidInput, ZeroflowError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Runs: what became of them, and what to do next.")

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id or name of a run, or `last`.")]
Namespace = Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")]
Output = Annotated[str, typer.Option("-o", "--output", help="table or json")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the run to its end.")]


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the latest.")] = 20,
    state: Annotated[str, typer.Option(help="Only runs in this state: RUNNING, SUCCEEDED, FAILED, CANCELED.")] = "",
    namespace: Namespace = "",
    output: Output = "table",
) -> None:
    """Print the latest runs."""
    with _told(output):
        found = list(Runs(namespace).list(limit, state=state.upper()))
        if output == "json":
            as_json(found)
        elif found:
            rows = [{**run, "name": run["display_name"], "time": elapsed(run), "run": run["run_id"]} for run in found]
            as_table(["run", "name", "state", "created_at", "time"], rows)
        else:
            typer.echo("no runs; `zeroflow run FILE.py` starts one", err=True)


@app.command()
def show(run: Run, namespace: Namespace = "", output: Output = "table") -> None:
    """Print a run: its steps, their cost, its outputs."""
    with _told(output):
        runs = Runs(namespace)
        found = runs.find(run)
        tasks, cost = runs.get(found["run_id"], "/tasks")["tasks"], runs.get(found["run_id"], "/cost")
        if output == "json":
            as_json({**found, "tasks": tasks, "cost": cost})
            return
        show_result(runs.host, found, tasks, output)
        if cost["steps"]:
            typer.echo("")
            rows = [{"step": step["name"], **_costs(step)} for step in cost["steps"]]
            as_table(["step", *_COSTS], [*rows, {"step": "(all)", **_costs(cost["total"])}])
        if cost["reused"]:
            typer.echo(f"\n{cost['reused']} steps were reused; `zeroflow why {found['run_id']}` tells from where")


@app.command()
def logs(
    run: Run,
    step: Annotated[str | None, typer.Argument(help="A step; without it, all that have a log.")] = None,
    follow_: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing until the run ends.")] = False,
    attempt: Annotated[int, typer.Option(help="An earlier attempt of the step.", min=0)] = 0,
    namespace: Namespace = "",
) -> None:
    """Print what steps wrote."""
    with _told():
        runs = Runs(namespace)
        print_logs(runs, runs.find(run)["run_id"], step, attempt, follow=follow_)


@app.command()
def events(run: Run, namespace: Namespace = "", output: Output = "table") -> None:
    """Print the event log of a run, oldest first."""
    with _told(output):
        runs = Runs(namespace)
        run_id, token, found = runs.find(run)["run_id"], "", list[dict[str, Any]]()
        while True:
            page = runs.get(run_id, f"/events?page_token={token}")
            found, token = found + page["events"], page["next_page_token"]
            if not token:
                break
        if output == "json":
            as_json(found)
        else:
            rows = [{**one, "by": one["source"].rpartition("/")[2], "of": _short(one, run_id)} for one in found]
            as_table(["time", "type", "of", "by", "id"], rows)


@app.command()
def diff(run: Run, other: Run, namespace: Namespace = "", output: Output = "table") -> None:
    """Tell where two runs part: the first difference in parameters, code, inputs or outputs. Ends with 1 if they do."""
    with _told(output):
        runs = Runs(namespace)
        before, after = runs.find(run)["run_id"], runs.find(other)["run_id"]
        told = runs.get(before, f"/diff/{after}")
        if output == "json":
            as_json(told)
        elif not told["differences"]:
            typer.echo("nothing differs")
        else:
            typer.echo(f"first difference: {_difference(told['first'])}")
            for one in told["differences"][1:]:
                typer.echo(f"  {_difference(one)}")
            if told["truncated"]:
                typer.echo("  ... and more", err=True)
        raise typer.Exit(1 if told["differences"] else 0)


@app.command()
def retry(run: Run, wait: Wait = True, namespace: Namespace = "", output: Output = "table") -> None:
    """Run again what failed or was canceled in a run; what succeeded is kept."""
    with _told(output):
        runs = Runs(namespace)
        found = runs.find(run)
        runs.post(found["run_id"], "retry")
        _go_on(runs, found["run_id"], "is retried", wait, output)


@app.command()
def fork(
    run: Run,
    from_: Annotated[str, typer.Option("--from", metavar="STEP", help="From here on everything runs again.")] = "",
    parameter: Annotated[list[str] | None, typer.Option("-p", "--parameter", help="name=value, repeatable.")] = None,
    file: Annotated[str, typer.Option("-f", "--file", help="A changed FILE.py, FILE.py:PIPELINE or FILE.yaml.")] = "",
    name: Annotated[str, typer.Option(help="Name of the new run.")] = "",
    wait: Wait = True,
    namespace: Namespace = "",
    output: Output = "table",
) -> None:
    """Start a run from an earlier one: steps that are unchanged keep their outputs."""
    with _told(output):
        runs = Runs(namespace)
        found = runs.find(run)
        spec, body = runs.spec(found), dict[str, Any]()
        if file:
            path, _, pipeline = file.partition(".py:")
            documents = definition_of(Path(f"{path}.py" if pipeline else file), pipeline)
            spec = documents[0]
            whole = len(documents) == 1
            body["pipeline_spec"] = spec if whole else {"pipeline_spec": spec, "platform_spec": documents[1]}
        values = parameters_of(spec, parameter or [], complete=False)
        body |= {"from": from_, "display_name": name, "runtime_config": {"parameters": values}}
        made = runs.post(found["run_id"], "fork", body)
        _go_on(runs, made["run_id"], f"is a fork of {found['run_id']}", wait, output)


@app.command()
def cancel(run: Run, namespace: Namespace = "") -> None:
    """Cancel a run and everything that it still runs."""
    with _told():
        runs = Runs(namespace)
        found = runs.find(run)
        runs.post(found["run_id"], "terminate")
        typer.echo(f"run {found['run_id']} is canceled; `zeroflow runs retry {found['run_id']}` goes on with it")


class _told:  # noqa: N801 - read as a word: with _told()
    """Tell an error in one line."""

    def __init__(self, output: str = "table") -> None:
        if output not in ("table", "json"):
            fail(f"-o {output}: expected table or json", 2)

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, ZeroflowError):
            fail(str(error), 2 if isinstance(error, InvalidInput) else 1)


def _go_on(runs: Runs, run_id: str, what: str, wait: bool, output: str) -> None:
    found = runs.get(run_id)
    if not wait:
        if output == "json":
            as_json(found)
        else:
            typer.echo(f"run {run_id} {what}; `zeroflow runs show {run_id}` tells how it ends")
        return
    typer.echo(f"run {run_id} {what}", err=True)
    state = follow(runs.host, f"{API}/runs/{run_id}", found["display_name"])
    show_result(runs.host, runs.get(run_id), runs.get(run_id, "/tasks")["tasks"], output)
    raise typer.Exit(0 if state == "SUCCEEDED" else 1)


_COSTS = ("wall", "cpu", "memory", "in", "out")


def _costs(usage: dict[str, Any]) -> dict[str, str]:
    return {
        "wall": f"{usage['wall_ms'] / 1000:.3f} s",
        "cpu": f"{usage['cpu_ms'] / 1000:.3f} s",
        "memory": _bytes(usage["max_rss_bytes"]),
        "in": _bytes(usage["bytes_in"]),
        "out": _bytes(usage["bytes_out"]),
    }


def _bytes(count: int) -> str:
    size, units = float(count), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def _short(event: dict[str, Any], run_id: str) -> str:
    return (event["subject"] or "").removeprefix(f"runs/{run_id}").removeprefix("/tasks/") or "run"


def _difference(one: dict[str, Any]) -> str:
    where = f"{one['task']}: " if one["task"] else ""
    name = f" {one['name']}" if one["name"] else ""
    before, after = (str(one[end])[: 12 if name.endswith(".sha256") else None] for end in ("before", "after"))
    return f"{where}{one['kind']}{name}: {before} -> {after}"
