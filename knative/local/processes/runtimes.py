"""Which runtimes there are: what a fork server loads before its first child.

A container is started from a runtime when its Pod carries the annotation ``zeroflow.dev/runtime: <name>`` and its
command is ``gunicorn ...``; the child then finds these modules loaded and answers within milliseconds. A module that
is not installed is skipped, so one table serves every set of extras. Nothing is imported here: the names are for the
fork server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

ANNOTATION = "zeroflow.dev/runtime"


@dataclass(frozen=True)
class Runtime:
    """What one kind of fork server loads: `modules` before its first child, `later` while nothing is to be started.

    From deep idle a child pays for `modules` and for what it needs itself of `later`; a later one for neither.
    """

    modules: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    alone: bool = False
    """Whether one process serves, as a rule: the parent then loads nothing, and a spare becomes the process."""
    environment: Mapping[str, str] = field(default_factory=dict)  # set before the first import


_SERVER = (
    "gunicorn.app.wsgiapp",
    "gunicorn.arbiter",
    "zeroflow.knative.local.processes.worker",
    "gunicorn.glogging",
    "gunicorn.http.wsgi",
)
_FLASK = (*_SERVER, "flask", "cloudevents.core.bindings.http", "cloudevents.core.v1.event")
_FUNCTION = (*_FLASK, "sqlalchemy.orm", "sqlalchemy.dialects.sqlite.pysqlite", "zeroflow.events.app")

RUNTIMES: Mapping[str, Runtime] = {
    "function": Runtime(
        (
            *_FUNCTION,
            "zeroflow.functions.pipeline.handler",
            "zeroflow.functions.step.handler",
            "zeroflow.metadata.preload",
        ),
        (
            "kubernetes.client",
            "kubernetes.config",
            "zeroflow.functions.inference.handler",
            "zeroflow.functions.router.handler",
            "zeroflow.functions.ingest.handler",
            "zeroflow.functions.trial.handler",
            "zeroflow.functions.training.handler",
            "zeroflow.functions.transform.handler",
        ),
    ),
    # What never talks to the Kubernetes API does without its client, which takes 35 MB of each parent's memory.
    "registry": Runtime((*_FUNCTION, "zeroflow.functions.register.handler", "zeroflow.metadata.preload"), alone=True),
    # OpenBLAS starts its threads when it is loaded, and they do not survive a fork; requests have threads of their own.
    # libgomp reads its variable when it is loaded, so a container's own setting would come too late.
    "predictor": Runtime(
        (*_FLASK, "zeroflow.functions.predictor.handler", "zeroflow.functions.predictor.preload"),
        (
            "joblib.numpy_pickle",
            "pandas",
            "sklearn.linear_model",
            "sklearn.compose",
            "sklearn.ensemble",
            "sklearn.impute",
            "sklearn.pipeline",
            "sklearn.preprocessing",
            "sklearn.tree",
            "onnx",
            "onnxruntime",
            "zeroflow.models.compiled.warm",
        ),
        # The last one: onnxruntime's telemetry is a thread, and nobody's business.
        environment={"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"},
    ),
}
