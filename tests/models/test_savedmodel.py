"""A TensorFlow SavedModel under TensorFlow itself, where that is installed; what is said where it is not."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from zeroflow.artifacts import Stores
from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.loading import load
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.trust import Word

URI = "store://models/iris"
INSTALLED = importlib.util.find_spec("tensorflow") is not None


@pytest.mark.skipif(INSTALLED, reason="TensorFlow is installed")
def test_without_tensorflow_the_refusal_says_what_to_do(stores: Stores, place: Path) -> None:
    (place / "saved_model.pb").write_bytes(b"x")
    with pytest.raises(FormatNotSupported, match=r"install zeroflow\[tensorflow\] to serve it, or convert it"):
        load(stores, URI, Word(by="me"))


@pytest.mark.skipif(not INSTALLED, reason="TensorFlow is not installed")
def test_saved_model_answers_by_its_signature(stores: Stores, place: Path) -> None:
    import tensorflow as tf

    class Doubling(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def __call__(self, x):
            return {"y": 2 * x}

    model = Doubling()
    place.rmdir()
    tf.saved_model.save(model, str(place), signatures={"serving_default": model.__call__})
    loaded = load(stores, URI, Word(by="me"), "tensorflow")
    assert isinstance(loaded, TensorModel)
    assert loaded.run({"x": np.ones((1, 2), np.float32)}, ("y",))["y"].tolist() == [[2.0, 2.0]]
    with pytest.raises(ValueError, match="x"):
        loaded.run({"x": np.ones((1, 3), np.float64)}, ("y",))
