"""A loaded scikit-learn estimator, and what it takes and gives.

Everything is told from the fitted object: the number and names of its columns, which of them hold text, whether it
bears missing values, its classes. Columns come as one matrix in the order of `columns`. Guarantees: safe to call from
several threads (prediction does not change a fitted estimator); numpy, pandas and scikit-learn are imported here only
when a model is loaded.

Source: scikit-learn developer guide (`n_features_in_`, `feature_names_in_`, `classes_`, estimator tags).
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from zeroflow.models.errors import CorruptModel, FormatNotSupported

if TYPE_CHECKING:
    import numpy as np

METHODS = ("predict", "predict_proba")
"""What can be asked of a model; predict_proba where the estimator has it."""

_DATATYPES = {"f4": "FP32", "f8": "FP64", "f2": "FP16", "b1": "BOOL"}


@dataclass(frozen=True)
class Tensor:
    """An input or output: name, Open Inference Protocol datatype, shape with -1 for what varies."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_guess: bool = False
    """Whether the model does not say so itself: other whole numbers do for INT64, any number for another datatype, and
    what does not the model refuses."""


@dataclass(frozen=True)
class Estimator:
    """A fitted estimator behind the few calls that serving needs."""

    model: Any = field(repr=False)
    kind: str
    """The estimator's class, for people."""
    sha256: str
    """Content hash of the bytes it was loaded from."""
    width: int | None
    """Number of columns; None when the estimator does not say."""
    columns: tuple[str, ...] | None
    """Column names when it was fitted on a data frame."""
    text_columns: frozenset[str]
    """Those of `columns` that hold strings."""
    takes_text: bool
    """Whether a row is one string (a text vectorizer comes first)."""
    takes_missing: bool
    """Whether a number may be missing; where parts decide that, the estimator is asked."""
    needs_frame: bool
    """Whether prediction needs the column names."""
    platform: str = "sklearn_sklearn"
    """Framework and form, as the Open Inference Protocol's metadata name them."""
    fast: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict, repr=False)
    """Cheaper forms of some methods, with the same answers (zeroflow.models.compiled)."""
    parts: tuple[str, ...] = ()
    """What `fast` is made of, where that is known to be exact (zeroflow.models.compiled.parts)."""
    serves: str = "original"
    """What answers, and why not something faster; for people."""
    answers: tuple[Tensor, ...] | None = None
    """Its outputs, for a model that is no scikit-learn estimator."""

    @classmethod
    def of(cls, model: Any, sha256: str) -> "Estimator":
        """Wrap a loaded object; raise FormatNotSupported or CorruptModel when it cannot predict."""
        if not callable(getattr(model, "predict", None)) or isinstance(model, type):
            raise FormatNotSupported(
                f"the file holds a {type(model).__name__}, expected a fitted scikit-learn estimator that can predict"
            )
        _check_fitted(model)
        names = getattr(model, "feature_names_in_", None)
        columns = None if names is None else tuple(str(name) for name in names)
        width = getattr(model, "n_features_in_", None)
        needs_frame = columns is not None and _is_composite(model)
        if needs_frame:
            _require_pandas(model)
        warnings.filterwarnings("ignore", message="X does not have valid feature names")
        return cls(
            model=model,
            kind=type(model).__name__,
            sha256=sha256,
            width=None if width is None else int(width),
            columns=columns,
            text_columns=frozenset(_text_columns(model)) if columns else frozenset(),
            takes_text=width is None and _takes_text(model),
            takes_missing=needs_frame or _takes_missing(model),
            needs_frame=needs_frame,
        )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that this estimator has."""
        return tuple(name for name in METHODS if callable(getattr(self.model, name, None)))

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """Return the inputs: one matrix, or one tensor per column when columns differ in type."""
        if self.takes_text:
            return (Tensor("input-0", "BYTES", (-1,)),)
        if self.columns and self.text_columns:
            return tuple(
                Tensor(name, "BYTES" if name in self.text_columns else "FP64", (-1, 1)) for name in self.columns
            )
        return (Tensor("input-0", "FP64", (-1, -1 if self.width is None else self.width)),)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """Return the outputs, one for each method."""
        if self.answers is not None:
            return self.answers
        classes: Any = getattr(self.model, "classes_", None)
        many = getattr(self.model, "n_outputs_", 1)
        shape: tuple[int, ...] = (-1,) if not isinstance(many, int) or many == 1 else (-1, many)
        found = [Tensor("predict", datatype_of(classes.dtype) if hasattr(classes, "dtype") else "FP64", shape)]
        if "predict_proba" in self.methods:
            found.append(Tensor("predict_proba", "FP64", (-1, len(classes) if hasattr(classes, "dtype") else -1)))
        return tuple(found)

    def call(self, method: str, rows: Any) -> "np.ndarray[Any, Any]":
        """Return what a method says of the rows; ValueError when the estimator refuses them.

        `rows` is a float64 matrix (rows, columns), an object matrix when some columns hold text, or an array of texts.
        """
        fast = self.fast.get(method)
        return fast(rows) if fast is not None else self.ask_original(method, rows)

    def ask_original(self, method: str, rows: Any) -> "np.ndarray[Any, Any]":
        """Return what the loaded object itself says of the rows."""
        import numpy as np

        if self.needs_frame:
            rows = self._frame(rows)
        return np.asarray(getattr(self.model, method)(rows))

    def compiled(self) -> "Estimator":
        """Return this model with the cheaper forms of its methods that answer the same."""
        if self.needs_frame or self.takes_text or self.width is None:
            return replace(self, serves="original: its columns are not all numbers")
        from zeroflow.models.compiled.plan import compiled

        plan = compiled(self.model, self.width, self.takes_missing, self.ask_original)
        return replace(self, fast=plan.methods, parts=plan.kinds, serves=plan.why)

    def _frame(self, rows: Any) -> Any:
        import pandas as pd

        if not self.text_columns:
            return pd.DataFrame(rows, columns=list(self.columns or ()), copy=False)
        return pd.DataFrame(
            {
                name: rows[:, at] if name in self.text_columns else rows[:, at].astype("float64")
                for at, name in enumerate(self.columns or ())
            }
        )


def datatype_of(dtype: Any) -> str:
    """Return the Open Inference Protocol's name of a numpy dtype; text and objects are BYTES."""
    if dtype.kind in "iu":
        return f"{'U' if dtype.kind == 'u' else ''}INT{dtype.itemsize * 8}"
    return _DATATYPES.get(f"{dtype.kind}{dtype.itemsize}", "BYTES")


def _check_fitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(model)
    except NotFittedError as error:
        raise CorruptModel(f"the {type(model).__name__} in the file was never fitted") from error
    except TypeError:
        return  # not scikit-learn's own: it has predict, and that must do


def _require_pandas(model: Any) -> None:
    try:
        import pandas  # noqa: F401
    except ImportError as error:
        raise FormatNotSupported(
            f"this {type(model).__name__} selects columns of a data frame by name; install pandas to serve it"
        ) from error


def _parts(model: Any) -> Iterator[Any]:
    """Yield the estimators directly inside one: steps of a pipeline, parts of a column transformer, wrapped ones."""
    for _name, value in sorted(vars(model).items()):
        if isinstance(value, list):
            for item in value:
                if isinstance(item, tuple):
                    yield from (part for part in item if hasattr(part, "get_params") and not isinstance(part, type))
        elif hasattr(value, "get_params") and not isinstance(value, type):
            yield value


def _is_composite(model: Any) -> bool:
    """Say whether something inside may choose columns by name or type: it was given the names, or may have been."""
    if not hasattr(model, "__dict__") or any(hasattr(model, name) for name in ("steps", "transformers_")):
        return True
    return any(hasattr(part, "feature_names_in_") or _is_composite(part) for part in _parts(model))


def _text_columns(model: Any) -> Iterator[str]:
    """Yield the columns whose encoder has learned text categories, wherever in the model it sits."""
    for part in _parts(model):
        for name, transformer, chosen in getattr(part, "transformers_", ()):
            if name == "remainder" and isinstance(transformer, str):
                continue
            yield from _text_of(transformer, _names(part, chosen))
        yield from _text_columns(part)
    for _name, transformer, chosen in getattr(model, "transformers_", ()):
        yield from _text_of(transformer, _names(model, chosen))


def _names(transformer: Any, chosen: Any) -> list[str]:
    """Return the names of the columns that a column transformer gives to one of its parts."""
    import numpy as np

    known = getattr(transformer, "feature_names_in_", None)
    if isinstance(chosen, str):
        return [chosen]
    if known is None:
        return [name for name in chosen if isinstance(name, str)] if isinstance(chosen, list) else []
    if isinstance(chosen, list | tuple) and all(isinstance(name, str) for name in chosen):
        return list(chosen)
    return [str(name) for name in np.atleast_1d(np.asarray(known)[chosen])]


def _text_of(transformer: Any, names: list[str]) -> Iterator[str]:
    encoder = transformer.steps[0][1] if hasattr(transformer, "steps") else transformer
    if hasattr(transformer, "steps"):  # an imputer in front keeps the columns
        encoder = next((step for _, step in transformer.steps if hasattr(step, "categories_")), encoder)
    for name, categories in zip(names, getattr(encoder, "categories_", ()), strict=False):
        if categories.dtype.kind in "OUST" and any(isinstance(value, str) for value in categories):
            yield name


def _takes_text(model: Any) -> bool:
    first = model.steps[0][1] if getattr(model, "steps", None) else model
    return type(first).__module__.startswith("sklearn.feature_extraction.text")


def _takes_missing(model: Any) -> bool:
    try:
        from sklearn.utils import get_tags

        return bool(get_tags(model).input_tags.allow_nan)
    except (ImportError, AttributeError, TypeError):
        return False
