"""What a preloaded parent imports before its first predictor: what answers requests, and no model's own library.

Named in the embedded host's table of runtimes, beside the libraries that the parent loads later; a predictor itself
never imports it. Importing starts no thread and runs no parallel region, both of which would not survive a fork.
"""

import importlib
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # numpy looks at it when it is imported, which is here

MODULES = (
    "cloudevents.core.bindings.http",
    "numpy",
    "prometheus_client",
    "urllib3",
    "zeroflow.artifacts.local",
    "zeroflow.functions.predictor.grpc.edge",
    "zeroflow.functions.predictor.handler",
    "zeroflow.functions.predictor.http.streams",
    "zeroflow.functions.predictor.worker",
    "zeroflow.models.compiled.linear",
    "zeroflow.models.compiled.plan",
    "zeroflow.models.compiled.remembered",
    "zeroflow.models.compiled.trees",
    "zeroflow.http2.connection",
    "zeroflow.models.loading",
    "zeroflow.functions.predictor.http.behind",
)

for _name in MODULES:
    try:
        importlib.import_module(_name)
    except ImportError:  # an extra that is not installed: models that need it say so when they are loaded
        continue
