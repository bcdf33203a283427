"""`zeroflow why rollout`: what decided a canary."""

from datetime import datetime
from typing import Any

import typer

from zeroflow.cli.host import Host, host_url
from zeroflow.cli.output import as_json, as_table


def why_rollout(name: str, namespace: str, output: str) -> None:
    """Tell of an InferenceService's newest rollout; raises what the host refuses."""
    told = Host(host_url()).json("GET", f"/api/inference/v1/rollouts/{namespace}/{name}")["rollouts"]
    if output == "json":
        as_json(told)
        return
    newest = told[0]
    typer.echo(
        f"{newest['canary']} against {newest['stable']}: {newest['state']}   {newest['requests']} requests"
        + (f", labels of {newest['labels']}" if newest.get("labels") else "")
    )
    for one in newest["decisions"]:
        when = datetime.fromtimestamp(one["time_ms"] / 1000).astimezone().strftime("%H:%M:%S")
        typer.echo(f"\n{when}  {one['action']}  -> {one['percent']} %\n  {one['reason']}")
    if newest["counts"]:
        typer.echo()
        rows = [{**row, "share": _share(row)} for row in newest["counts"]]
        as_table(["metric", "arm", "bad", "total", "share"], rows)
    last = newest["decisions"][-1]["numbers"] if newest["decisions"] else {}
    for metric, found in last.items():
        if "difference" in found:
            low, high = found["difference"]
            typer.echo(f"\n{metric}: canary minus stable is {low:+.4f} to {high:+.4f}, right at all times at once")
    if len(told) > 1:
        typer.echo(f"\n{len(told) - 1} earlier: -o json has them", err=True)


def _share(row: dict[str, Any]) -> str:
    return f"{row['bad'] / row['total']:.2%}" if row["total"] else "-"
