"""XGBoost and LightGBM models as their libraries save them: data, no code, hence nobody has to vouch for them.

`predict` answers what the library's own Booster answers - for a classifier, probabilities - as KServe's servers do.
Missing values are borne. Sources: XGBoost model IO (UBJSON, JSON); LightGBM, Booster.save_model.
"""

import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Estimator, Tensor, datatype_of

if TYPE_CHECKING:
    import numpy as np


class _XgboostModel:
    def __init__(self, path: Path) -> None:
        self._xgboost: Any = importlib.import_module("xgboost")
        self._booster = self._xgboost.Booster(model_file=bytearray(path.read_bytes()))
        # One thread: requests run side by side, and a row is too little work to share (measured: 690 us with two).
        self._booster.set_param({"nthread": 1})
        self.width, self.columns = int(self._booster.num_features()), self._booster.feature_names
        config = json.loads(self._booster.save_config())
        self._is_linear = config["learner"]["gradient_booster"]["name"] == "gblinear"

    def predict(self, rows: "np.ndarray[Any, Any]") -> Any:
        if self._is_linear:  # which predicts no matrix in place
            matrix = self._xgboost.DMatrix(rows, feature_names=self.columns, nthread=1)
            return self._booster.predict(matrix)
        return self._booster.inplace_predict(rows, validate_features=False)

    def boosted(self) -> Any:
        """Return a cheaper form's methods and the trees in it; None where there is none."""
        return importlib.import_module("zeroflow.models.compiled.boosted").heads(self._booster)


class _LightgbmModel:
    def __init__(self, path: Path) -> None:
        lightgbm: Any = importlib.import_module("lightgbm")
        self._booster = lightgbm.Booster(model_str=path.read_text())
        self.width = int(self._booster.num_feature())
        names = self._booster.feature_name()
        self.columns = None if names == [f"Column_{at}" for at in range(self.width)] else names

    def predict(self, rows: "np.ndarray[Any, Any]") -> Any:
        return self._booster.predict(rows, num_threads=1)


_KINDS: dict[str, Any] = {"xgboost": _XgboostModel, "lightgbm": _LightgbmModel}


def read(path: Path, format_name: str, sha256: str) -> Estimator:
    """Load a booster; raise what its library raises."""
    import numpy as np

    model = _KINDS[format_name](path)
    answer = np.asarray(model.predict(np.zeros((1, model.width))))
    return Estimator(
        model=model,
        kind=f"{format_name}.Booster",
        sha256=sha256,
        width=model.width,
        columns=tuple(model.columns) if model.columns else None,
        text_columns=frozenset(),
        takes_text=False,
        takes_missing=True,
        needs_frame=False,
        platform=f"{format_name}_{format_name}",
        serves="original, one thread",
        answers=(Tensor("predict", datatype_of(answer.dtype), (-1, *answer.shape[1:])),),
    )
