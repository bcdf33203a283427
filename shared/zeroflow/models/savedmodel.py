"""TensorFlow SavedModels under TensorFlow itself, where that is installed.

A SavedModel is a program that may read and write files, so it is loaded only when somebody vouches for its bytes.
The signature `serving_default` names inputs and outputs. Source: TensorFlow guide, "Using the SavedModel format".
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.estimator import Tensor, datatype_of
from zeroflow.models.tensormodel import TensorModel

if TYPE_CHECKING:
    import numpy as np

SIGNATURE = "serving_default"


def read(path: Path, sha256: str) -> TensorModel:
    """Load the SavedModel whose saved_model.pb lies at `path`; raise what TensorFlow raises."""
    try:
        tensorflow: Any = importlib.import_module("tensorflow")
    except ImportError as error:
        raise FormatNotSupported(
            f"{path.parent.name} is a TensorFlow SavedModel; install zeroflow[tensorflow] to serve it, or convert it: "
            "python -m tf2onnx.convert --saved-model DIR --output model.onnx"
        ) from error
    loaded = tensorflow.saved_model.load(str(path.parent))
    if SIGNATURE not in loaded.signatures:
        known = ", ".join(loaded.signatures) or "none"
        raise FormatNotSupported(f"the SavedModel has no signature {SIGNATURE}; it has {known}")
    function = loaded.signatures[SIGNATURE]
    inputs = tuple(_tensor(name, spec) for name, spec in function.structured_input_signature[1].items())
    outputs = tuple(_tensor(name, spec) for name, spec in function.structured_outputs.items())

    def run(given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        try:
            found = function(**{name: tensorflow.constant(array) for name, array in given.items()})
        except (tensorflow.errors.InvalidArgumentError, TypeError) as error:
            raise ValueError(str(error)) from error
        return {name: found[name].numpy() for name in wanted}

    return TensorModel(
        kind="TensorFlow SavedModel",
        sha256=sha256,
        platform="tensorflow_savedmodel",
        inputs=inputs,
        outputs=outputs,
        run=run,
        serves=f"original, {'cuda' if tensorflow.config.list_physical_devices('GPU') else 'cpu'}",
        keeps=loaded,
    )


def _tensor(name: str, spec: Any) -> Tensor:
    import numpy as np

    kind = np.dtype(spec.dtype.as_numpy_dtype)
    shape = () if spec.shape.rank is None else tuple(-1 if size is None else int(size) for size in spec.shape)
    return Tensor(name, datatype_of(kind), shape)
