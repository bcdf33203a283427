"""Routes of artifacts: lists, descriptions, lineage, metrics, and the bytes themselves.

Bytes come through this function, whatever store they are in, so that a browser needs no credentials of a store. They
are a user's: a page among them may run scripts, but in an origin of its own, from which nothing here can be reached.
"""

from flask import Blueprint, Response, request
from sqlalchemy import select

from zeroflow.functions.pipeline import catalog, contents, lineage, runs
from zeroflow.functions.pipeline.api import Context, answer, list_of
from zeroflow.metadata.artifacts import Artifact, ArtifactUse
from zeroflow.metadata.pipelines import Task

_ARTIFACTS = {
    "id": Artifact.id, "artifact_id": Artifact.id, "name": Artifact.name, "type": Artifact.type, "uri": Artifact.uri,
    "sha256": Artifact.sha256, "size_bytes": Artifact.size_bytes, "created_at": Artifact.created_ms,
    "recorded_by": Artifact.recorded_by,
}  # fmt: skip


def register(routes: Blueprint, context: Context) -> None:
    """Add the routes."""
    app = context.app

    @routes.get("/artifacts")
    def list_artifacts() -> Response:
        namespace = catalog.namespace_of(request.args.get("namespace"))
        base = select(Artifact).where(Artifact.namespace == namespace)
        return list_of(context, base, _ARTIFACTS, "artifacts", lambda _, row: lineage.described(row))

    @routes.get("/runs/<run_id>/artifacts")
    def list_artifacts_of_run(run_id: str) -> Response:
        with app.database.reading() as session:
            runs.get(session, run_id)
        made = (
            select(ArtifactUse.artifact_id)
            .join(Task, Task.id == ArtifactUse.task_id)
            .where(Task.run_id == run_id, ArtifactUse.direction == request.args.get("direction", "output"))
        )
        base = select(Artifact).where(Artifact.id.in_(made))
        return list_of(context, base, _ARTIFACTS, "artifacts", lambda _, row: lineage.described(row))

    @routes.get("/runs/<run_id>/metrics")
    def list_metrics(run_id: str) -> Response:
        with app.database.reading() as session:
            runs.get(session, run_id)
            return answer({"run_id": run_id, "metrics": lineage.metrics(session, run_id)})

    @routes.get("/artifacts/<artifact_id>")
    def get_artifact(artifact_id: str) -> Response:
        with app.database.reading() as session:
            return answer(lineage.artifact(session, artifact_id))

    @routes.get("/artifacts/<artifact_id>/lineage")
    def get_lineage(artifact_id: str) -> Response:
        with app.database.reading() as session:
            return answer(lineage.of(session, artifact_id))

    @routes.get("/artifacts/<artifact_id>/content")
    def get_content(artifact_id: str) -> Response:
        with app.database.reading() as session:
            found = lineage.found(session, artifact_id)
        inline = request.args.get("view", "").lower() == "true"
        return contents.answer(context.stores, found, request.args.get("path", ""), inline=inline)
