"""Models that are Python classes: KServe's (load, preprocess, predict, postprocess), MLServer's, or plain ones."""

from zeroflow.models.python.classes import class_of
from zeroflow.models.python.model import PythonModel, read

__all__ = ["PythonModel", "class_of", "read"]
