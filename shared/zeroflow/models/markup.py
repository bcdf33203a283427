"""PMML files: trees, forests, boosting, linear and other models as data, read by sklearn-pmml-model.

Source: PMML 4.4 (dmg.org); sklearn-pmml-model, auto_detect.
"""

import importlib
from pathlib import Path
from typing import Any

from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.estimator import Estimator, Tensor, datatype_of


def read(path: Path, sha256: str) -> Estimator:
    """Load a PMML model; raise what its library raises."""
    try:
        library: Any = importlib.import_module("sklearn_pmml_model.auto_detect")
    except ImportError as error:
        raise FormatNotSupported(f"{path.name} is a PMML model; install zeroflow[pmml] to serve it") from error
    model = library.auto_detect_estimator(pmml=str(path))
    target = model.target_field.get("name") if model.target_field is not None else None
    fields = {name: field for name, field in model.fields.items() if name != target}
    text = frozenset(name for name, field in fields.items() if field.get("optype") != "continuous")
    classes = getattr(model, "classes_", None)
    answers = [Tensor("predict", datatype_of(classes.dtype) if classes is not None else "FP64", (-1,))]
    if classes is not None:
        answers.append(Tensor("predict_proba", "FP64", (-1, len(classes))))
    return Estimator(
        model=model,
        kind=type(model).__name__,
        sha256=sha256,
        width=len(fields),
        columns=tuple(fields),
        text_columns=text,
        takes_text=False,
        takes_missing=False,
        needs_frame=True,
        platform="pmml_sklearn",
        answers=tuple(answers),
    )
