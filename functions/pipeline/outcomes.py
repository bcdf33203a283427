"""What became of an execution: the data of `dev.zeroflow.task.finished`, and how it is recorded.

An artifact is recorded once under an id derived from its task and output, with its content hash; each reading and
writing of it is an edge of the lineage graph. A model that is marked for registration is announced.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from zeroflow.errors import InvalidInput
from zeroflow.events import Transaction
from zeroflow.functions.pipeline.executions import artifact_id
from zeroflow.functions.pipeline.fields import mapping, required_text, sequence, text
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.parameters import typed
from zeroflow.functions.pipeline.plan import Component
from zeroflow.metadata.artifacts import Artifact, ArtifactUse
from zeroflow.metadata.pipelines import Run, Task

MAX_KNOWN = 100
"""How many records of one URI are compared."""
MODEL_PRODUCED = "dev.zeroflow.model.produced"


@dataclass(frozen=True)
class Outcome:
    """One finished execution, as the step reported it."""

    run_id: str
    task_id: str
    attempt: int
    succeeded: bool
    error: str
    exit_code: int | None
    started_ms: int | None
    finished_ms: int | None
    timings: dict[str, Any]
    usage: dict[str, Any]
    """`cpu_ms` and `max_rss_bytes` of the step's process."""
    parameters: dict[str, Any]
    artifacts: dict[str, list[dict[str, Any]]]
    log_uri: str


def parse(data: dict[str, Any]) -> Outcome:
    """Read the data of a task.finished event."""
    state = required_text(data.get("state"), "state")
    if state not in ("SUCCEEDED", "FAILED"):
        raise InvalidInput(f"state must be SUCCEEDED or FAILED, found {state!r}")
    error = mapping(data.get("error"), "error")
    outputs = mapping(data.get("outputs"), "outputs")
    attempt = data.get("attempt")
    if not isinstance(attempt, int):
        raise InvalidInput(f"attempt must be a whole number, found {attempt!r}")
    return Outcome(
        run_id=required_text(data.get("run_id"), "run_id"),
        task_id=required_text(data.get("task_id"), "task_id"),
        attempt=attempt,
        succeeded=state == "SUCCEEDED",
        error=text(error.get("message"), "error.message") or ("" if state == "SUCCEEDED" else "no reason given"),
        exit_code=data.get("exit_code"),
        started_ms=data.get("started_ms"),
        finished_ms=data.get("finished_ms"),
        timings=mapping(data.get("timings"), "timings"),
        usage=mapping(data.get("usage"), "usage"),
        parameters=mapping(outputs.get("parameterValues"), "outputs.parameterValues"),
        artifacts={
            key: [mapping(item, f"artifact {key}") for item in sequence(held, f"artifact {key}")]
            for key, held in mapping(outputs.get("artifacts"), "outputs.artifacts").items()
        },
        log_uri=text(data.get("log_uri"), "log_uri"),
    )


def failure(row: Task) -> str:
    """Say how a step failed, for those who read the error of the run."""
    told = not row.exit_code or row.exit_code < 0 or "exit code" in (row.error or "")
    code = "" if told else f" (exit code {row.exit_code})"
    log = f"; log: {row.log_uri}" if row.log_uri else ""
    return f"task {row.name} failed: {row.error}{code}{log}"


def values_of(row: Task, component: Component, outcome: Outcome) -> Values:
    """Return a step's outputs as its row keeps them; raise WrongType when one is not what the component declares."""
    parameters = {}
    for key, value in outcome.parameters.items():
        spec = component.output_parameters.get(key)
        parameters[key] = typed(value, spec.type, f"output {key!r}") if spec and value is not None else value
    artifacts = {
        key: [
            {
                "id": artifact_id(row.id, key, position),
                "name": text(item.get("name"), f"artifact {key}") or key,
                "type": text(item.get("type"), f"artifact {key}") or "system.Artifact",
                "uri": text(item.get("uri"), f"artifact {key}"),
                "sha256": item.get("sha256"),
                "size_bytes": item.get("size_bytes"),
                "metadata": mapping(item.get("metadata"), f"artifact {key}"),
            }
            for position, item in enumerate(held)
        ]
        for key, held in outcome.artifacts.items()
    }
    return {"parameters": parameters, "artifacts": artifacts}


def known_artifacts(tx: Transaction, run: Run, values: Values) -> set[str]:
    """Give imported artifacts that were recorded before, with the same content and metadata, the id they have."""
    known = set()
    for item in (item for held in values["artifacts"].values() for item in held):
        same = select(Artifact).where(
            Artifact.namespace == run.namespace, Artifact.uri == item["uri"], Artifact.type == item["type"]
        )
        for found in tx.session.scalars(same.order_by(Artifact.created_ms).limit(MAX_KNOWN)):
            if found.sha256 == item["sha256"] and found.meta == item["metadata"]:
                item["id"] = found.id
                known.add(found.id)
                break
    return known


def record_artifacts(
    tx: Transaction, run: Run, row: Task, values: Values, known: Collection[str] = frozenset()
) -> None:
    """Record what a step wrote, unless it is `known`."""
    for held in values["artifacts"].values():
        for item in held:
            if item["id"] in known:
                continue
            tx.session.add(
                Artifact(
                    id=item["id"],
                    namespace=run.namespace,
                    name=item["name"],
                    type=item["type"],
                    uri=item["uri"],
                    sha256=item["sha256"],
                    size_bytes=item["size_bytes"],
                    meta=item["metadata"],
                    recorded_by=f"run/{run.id}/{row.name}",
                )
            )


def record_uses(tx: Transaction, row: Task, direction: str, artifacts: dict[str, list[dict[str, Any]]]) -> None:
    """Record that a task read (`input`) or wrote (`output`) artifacts."""
    tx.session.add_all(
        ArtifactUse(task_id=row.id, direction=direction, key=key, position=position, artifact_id=item["id"])
        for key, held in artifacts.items()
        for position, item in enumerate(held)
    )


def announce_models(tx: Transaction, run: Run, row: Task, values: Values) -> None:
    """Emit model.produced for each model whose metadata says under which name to register it."""
    for held in values["artifacts"].values():
        for item in held:
            name = item["metadata"].get("register_as")
            if item["type"] == "system.Model" and isinstance(name, str) and name:
                tx.session.flush()  # emit must see what this transaction has emitted: a reused model is announced once
                tx.emit(
                    MODEL_PRODUCED,
                    subject=f"runs/{run.id}/tasks/{row.name}",
                    event_id=f"{item['id']}.produced",
                    data=_produced(tx, run, row, item, name),
                )


def _produced(tx: Transaction, run: Run, row: Task, model: dict[str, Any], register_as: str) -> dict[str, Any]:
    inputs = (row.inputs or {}).get("artifacts", {})
    return {
        "artifact_id": model["id"],
        "name": model["name"],
        "uri": model["uri"],
        "sha256": model["sha256"],
        "size_bytes": model["size_bytes"],
        "namespace": run.namespace,
        "register_as": register_as,
        "metadata": model["metadata"],
        "run_id": run.id,
        "run_name": run.name,
        "pipeline_name": run.pipeline_name,
        "task_name": row.name,
        "metrics": {**_metrics(tx, run), **_numbers(model["metadata"])},
        "inputs": [
            {"artifact_id": item["id"], **{key: item[key] for key in ("name", "type", "uri", "sha256")}}
            for held in inputs.values()
            for item in held
        ],
    }


def _metrics(tx: Transaction, run: Run) -> dict[str, float]:
    found = tx.session.scalars(
        select(Artifact)
        .join(ArtifactUse, ArtifactUse.artifact_id == Artifact.id)
        .join(Task, Task.id == ArtifactUse.task_id)
        .where(Task.run_id == run.id, ArtifactUse.direction == "output", Artifact.type == "system.Metrics")
        .order_by(Artifact.created_ms, Artifact.id)
    )
    return {name: value for artifact in found for name, value in _numbers(artifact.meta).items()}


def _numbers(metadata: dict[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in metadata.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
