"""What a preloaded parent imports so that a predictor forked from it has next to nothing left to import.

Named in the embedded host's table of runtimes; a predictor itself never imports it. Importing starts no thread and
runs no parallel region, both of which would not survive a fork. Measured: loading a first linear model takes 1.2 s of
imports without.
"""

import importlib
import os

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")  # numpy looks at it when it is imported, which is here

MODULES = (
    "cloudevents.core.bindings.http",
    "joblib",
    "joblib.numpy_pickle",
    "numpy",
    "onnx",  # onnxruntime itself starts a thread when it is imported, and is left to the child
    "pandas",
    "prometheus_client",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "sklearn.tree",
    "sklearn.utils.validation",
    "zeroflow.artifacts.local",
    "zeroflow.functions.predictor.grpc.edge",
    "zeroflow.functions.predictor.handler",
    "zeroflow.functions.predictor.streams",
    "zeroflow.functions.predictor.worker",
    "zeroflow.models.compiled.linear",
    "zeroflow.models.compiled.plan",
    "zeroflow.models.compiled.trees",
    "zeroflow.http2.connection",
    "zeroflow.models.loading",
    "zeroflow.functions.predictor.behind",
)

for _name in MODULES:
    try:
        importlib.import_module(_name)
    except ImportError:  # an extra that is not installed: models that need it say so when they are loaded
        continue
