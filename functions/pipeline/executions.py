"""What is asked of `step` for one execution of a task: the data of `dev.zeroflow.task.requested`.

Source: ExecutorInput of KFP's pipeline_spec.proto, in its JSON form.
"""

import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from zeroflow.functions.pipeline import placeholders
from zeroflow.functions.pipeline.inputs import Values
from zeroflow.functions.pipeline.plan import ArtifactSpec, Plan
from zeroflow.functions.pipeline.pods import WORKSPACE_PATH
from zeroflow.functions.pipeline.states import rfc3339
from zeroflow.metadata import now_ms
from zeroflow.metadata.pipelines import Run, Task

NAMESPACE = uuid.UUID("6f1c0f3e-7d0b-5b34-9a44-0d5f0a6f3c11")
"""The root of this function's derived ids."""


def task_id(run_id: str, path: str) -> str:
    """Return the id of the task with this path in a run."""
    return str(uuid.uuid5(NAMESPACE, f"{run_id}/{path}"))


def artifact_id(task: str, key: str, position: int) -> str:
    """Return the id of the artifact that a task gives at an output."""
    return str(uuid.uuid5(NAMESPACE, f"{task}/{key}/{position}"))


def log_uri(run_id: str, task_name: str, attempt: int) -> str:
    """Return where the log of one execution lies."""
    return f"store://logs/{run_id}/{task_name}.{attempt}.log"


def resource_name(run: Run) -> str:
    """Return what a run would be called as a resource: after its pipeline, unlike what its user calls it."""
    return f"{run.pipeline_name}-{run.id[:8]}"


def context(run: Run, row: Task) -> dict[str, str]:
    """Return what placeholders stand for that are not about inputs."""
    return {
        "run_name": run.name,
        "resource_name": resource_name(run),
        "run_id": run.id,
        "task_name": row.display_name,
        "task_id": row.id,
        "pipeline_root": run.artifact_root,
        "created_at": rfc3339(run.created_ms),
        "workspace_path": WORKSPACE_PATH,
    }


def remaining_s(plan: Plan, run: Run, at_ms: int) -> float | None:
    """Return how much is left of the time that the pipeline gives a run, None when it sets none."""
    if plan.config.deadline_s is None:
        return None
    began_ms = next((entry["update_ms"] for entry in reversed(run.state_history) if entry["state"] == "RUNNING"), at_ms)
    return plan.config.deadline_s - (at_ms - began_ms) / 1000


def request(plan: Plan, run: Run, row: Task) -> dict[str, Any]:
    """Build the data of the event that asks for the execution which the row describes."""
    assert row.inputs is not None
    inputs: Values = row.inputs  # type: ignore[assignment]  # a JSON column of this shape
    component, given = plan.task(row.name).component, inputs.get("platform")
    timeout_s = component.platform.timeout_s if component.platform else None
    if (left_s := remaining_s(plan, run, now_ms())) is not None:
        timeout_s = max(1.0, left_s if timeout_s is None else min(timeout_s, left_s))
    executor, known = component.container, context(run, row)
    if component.claim:
        executor = {"claim": component.claim}
    elif component.importer is not None:
        executor = {"importer": _importer(component.importer, inputs, known)}
    return {
        "run_id": run.id,
        "run_name": run.name,
        "pipeline_name": run.pipeline_name,
        "namespace": run.namespace,
        "task_id": row.id,
        "task_name": row.name,
        "attempt": row.attempt,
        "executor": executor,
        "component": component.definitions,
        "executor_input": {
            "inputs": {
                "parameterValues": inputs["parameters"],
                "artifacts": {
                    key: {"artifacts": [_runtime(item) for item in held]} for key, held in inputs["artifacts"].items()
                },
            },
            "outputs": {
                "parameters": {key: {} for key in component.output_parameters},
                "artifacts": {
                    key: {"artifacts": [_assigned(run, row, key, spec)]}
                    for key, spec in component.output_artifacts.items()
                },
            },
        },
        "log_uri": row.log_uri,
        "timeout_s": timeout_s,
        **({"ttl_s": plan.config.ttl_s} if plan.config.ttl_s else {}),
        **({"platform": given} if given else {}),
        "context": known,
    }


def _importer(spec: dict[str, Any], inputs: Values, context: Mapping[str, str]) -> dict[str, Any]:
    """Return an importer with its URI and metadata filled in."""
    parameters, uri = inputs["parameters"], spec["artifactUri"]
    named = uri.get("runtimeParameter")
    return {
        "uri": parameters.get(named) if named else placeholders.fill(uri["constant"], parameters.get, context),
        "metadata": placeholders.fill(spec.get("metadata") or {}, parameters.get, context),
    }


def _runtime(artifact: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": artifact["name"],
        "type": {"schemaTitle": artifact["type"]},
        "uri": artifact["uri"],
        "metadata": artifact.get("metadata") or {},
    }


def _assigned(run: Run, row: Task, key: str, spec: ArtifactSpec) -> dict[str, Any]:
    return {
        "name": key,
        "type": {"schemaTitle": spec.schema_title, "schemaVersion": spec.schema_version},
        "uri": f"{run.artifact_root}/{row.name}/{quote(key, safe='')}",
        "metadata": spec.metadata,
    }
