"""`zeroflow why`: why a step ran, or did not have to; `zeroflow why rollout NAME`: what decided a canary."""

from typing import Annotated, Any

import typer

from zeroflow.cli.kfp import Runs, step_path
from zeroflow.cli.output import as_json, as_table, fail
from zeroflow.cli.why_rollout import why_rollout
from zeroflow.errors import InvalidInput, ZeroflowError


def why(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Id or name of a run, `last`, or the word rollout.")],
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="A step, else all; of rollout, the InferenceService.")
    ] = None,
    namespace: Annotated[str, typer.Option("-n", "--namespace", help="Namespace.")] = "",
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
) -> None:
    """Tell why steps were reused or ran again, or (rollout NAME) why a canary was promoted or rolled back."""
    if output not in ("table", "json"):
        fail(f"-o {output}: expected table or json", 2)
    try:
        if run == "rollout" and task is not None:
            why_rollout(task, namespace or "default", output)
            return
        runs = Runs(namespace)
        run_id = runs.find(run)["run_id"]
        if task is None:
            told = runs.get(run_id, "/reuse")
            steps = told["steps"]
        else:
            told = runs.get(run_id, f"{step_path(task)}/reuse")
            steps = [told]
    except ZeroflowError as error:
        fail(str(error), 2 if isinstance(error, InvalidInput) else 1)
    if output == "json":
        as_json(told)
    elif task is None:
        as_table(["step", "reused", "why"], [_row(step) for step in steps])
    else:
        _tell(told)


def _row(step: dict[str, Any]) -> dict[str, str]:
    return {"step": step["name"], "reused": "yes" if step["hit"] else "no", "why": step["reason"]}


def _tell(step: dict[str, Any]) -> None:
    typer.echo(f"{step['name']} was {'reused' if step['hit'] else 'not reused'}: its state is {step['state']}")
    nearest = step["nearest"]
    if nearest:
        of = "from" if step["hit"] else "nearest earlier execution:"
        typer.echo(f"  {of} {nearest['name']} of run {nearest['run_name']}  {nearest['run_id']}")
    if not step["differences"]:
        typer.echo(f"  {step['reason']}")
    for one in step["differences"]:
        name = f" {one['name']}" if one["name"] else ""
        typer.echo(f"  {one['kind']}{name} differs\n    then: {one['before']}\n    now:  {one['after']}")
