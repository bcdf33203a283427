"""The name by which an InferenceService's model answers: what an argument of its server says, else its own.

Whoever builds a path asks here: the function, graphs, references of rollouts, commands. A transformer that is given no
name is told the predictor's (KServe tells it the InferenceService's, by which the predictor would not answer then).
Source: KServe pkg/controller/v1beta1/inferenceservice/utils (GetModelName).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from zeroflow.inference.services import FRAMEWORKS

ARGUMENT = "model_name"


def predictor_name(isvc: Mapping[str, Any]) -> str:
    """Return the name by which the predictor's model answers."""
    predictor = _component(isvc, "predictor")
    implementation = next((predictor[name] for name in ("model", *FRAMEWORKS) if predictor.get(name)), None)
    container = implementation if isinstance(implementation, Mapping) else _container(predictor)
    return _named(container) or str(isvc["metadata"]["name"])


def model_name(isvc: Mapping[str, Any]) -> str:
    """Return the name by which it answers at the InferenceService's own URL, which may be a transformer's."""
    return _named(_container(_component(isvc, "transformer"))) or predictor_name(isvc)


def predict_path(name: str, protocol: str) -> str:
    """Return the path at which a model of this name predicts by a protocol (v1, v2, grpc-v2, ...)."""
    return f"/v2/models/{name}/infer" if protocol.endswith("v2") else f"/v1/models/{name}:predict"


def _component(isvc: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (isvc.get("spec") or {}).get(kind)
    return found if isinstance(found, Mapping) else {}


def _container(component: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = component.get("containers")
    first = containers[0] if isinstance(containers, list) and containers else {}
    return first if isinstance(first, Mapping) else {}


def _named(container: Mapping[str, Any]) -> str | None:
    """Return the value of `--model_name VALUE` or `--model_name=VALUE`; the last one counts, as for argparse."""
    args, found = container.get("args"), None
    words: Iterable[Any] = args if isinstance(args, list) else ()
    is_next = False
    for word in map(str, words):
        if is_next and not word.startswith("--"):
            found = word
        name, equals, value = word.partition("=")
        is_argument = name.startswith("--") and name.removeprefix("--").replace("-", "_") == ARGUMENT
        is_next = is_argument and not equals
        if is_argument and value:
            found = value
    return found
