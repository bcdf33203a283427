"""A model file as an MLflow model directory, for `mlflow models serve`: `mlflow_save.py MODEL_FILE DIRECTORY`."""

import sys

import mlflow

path, place = sys.argv[1:]
if path.endswith(".pt"):
    import numpy as np
    import torch
    from mlflow.types import Schema, TensorSpec

    module = torch.jit.load(path).eval()
    width = next(module.parameters()).shape[1]
    # Without it the rows of JSON are float64, which the network refuses.
    signature = mlflow.models.ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, width))]))
    mlflow.pytorch.save_model(module, place, signature=signature, serialization_format="pickle")
else:
    import joblib

    mlflow.sklearn.save_model(joblib.load(path), place, serialization_format="cloudpickle")
