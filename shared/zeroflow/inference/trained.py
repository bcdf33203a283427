"""What KServe's webhook refuses in a TrainedModel, in KServe's words.

Source: KServe pkg/apis/serving/v1alpha1 (trainedmodel_webhook), messages included.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.resources.quantities import amount

API_VERSION, KIND = "serving.kserve.io/v1alpha1", "TrainedModel"
SCHEMES = ("gs", "s3", "http", "https", "hf", "oci", "store", "file", "model-registry")
"""Where a model of several in one predictor may lie. A claim would have to be mounted before the model is named."""

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_DENIED = 'admission webhook "trainedmodel.kserve-webhook-server.validator" denied the request: '


def denied(fault: str) -> str:
    """Return how a client reads a fault that KServe's webhook has found."""
    return _DENIED + fault


def faults(new: Mapping[str, Any], old: Mapping[str, Any] | None) -> Iterator[str]:
    """Yield what is wrong with a TrainedModel; `old`: as it was, where it is changed."""
    name = str(new["metadata"].get("name") or "")
    if not _NAME.fullmatch(name):
        yield (
            f'the Trained Model "{name}" is invalid: a Trained Model name must consist of alphanumeric characters, '
            f"'_', or '-'. (e.g. \"my-Name\" or \"abc_123\", regex used for validation is '^{_NAME.pattern}$')"
        )
    model, before = _model(new), _model(old)
    uri, memory = str(model.get("storageUri") or ""), model.get("memory")
    if not uri.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        known = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        yield (
            f'the Trained Model "{name}" storageUri field is invalid. The storage uri must start with one of the '
            f'prefixes: {known}. (the storage uri given is "{uri}")'
        )
    try:
        changed = bool(before) and amount(memory) != amount(before.get("memory"))
    except InvalidInput as error:
        yield f'the Trained Model "{name}" memory field is invalid: {error}'
        return
    if changed:
        yield (
            f'the Trained Model "{name}" memory field is immutable. The memory was "{before["memory"]}" but it is '
            f'updated to "{memory}"'
        )


def _model(obj: Mapping[str, Any] | None) -> Mapping[str, Any]:
    found = ((obj or {}).get("spec") or {}).get("model")
    return found if isinstance(found, Mapping) else {}
