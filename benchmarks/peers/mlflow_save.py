"""A model file as an MLflow model directory, for `mlflow models serve`: `mlflow_save.py MODEL_FILE DIRECTORY`."""

import sys

import mlflow

path, place = sys.argv[1:]
if path.endswith(".pt"):
    import torch

    mlflow.pytorch.save_model(torch.jit.load(path).eval(), place, serialization_format="pickle")
else:
    import joblib

    mlflow.sklearn.save_model(joblib.load(path), place, serialization_format="cloudpickle")
