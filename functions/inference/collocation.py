"""A transformer in the predictor's pod, beside a model: taken out of it, as a component of its own.

KServe runs `transformer-container` beside the model's server, where the two speak by ports of one pod. Our predictor
has no port that could be told to a neighbour, so the container becomes spec.transformer: it stands before the predictor
all the same, and answers as it did. The status says so.

Source: KServe's documentation, "Collocate transformer and predictor"; pkg/constants (TransformerContainerName).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from zeroflow.inference.services import FRAMEWORKS

TRANSFORMER_CONTAINER = "transformer-container"
WHERE = ("--predictor_host", "--http_port", "--grpc_port")
"""Arguments that say where the two find each other in one pod; a transformer of its own is told anew."""
ADAPTED = f"{TRANSFORMER_CONTAINER} runs as a transformer of its own, not in the predictor's pod"


def taken_apart(spec: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return the spec with the transformer as a component, and what is to be said of that; else as it is."""
    predictor = spec.get("predictor") or {}
    containers = predictor.get("containers") or []
    has_model = any(predictor.get(name) is not None for name in ("model", *FRAMEWORKS))
    alone = len(containers) == 1 and isinstance(containers[0], dict)
    if not has_model or not alone or containers[0].get("name") != TRANSFORMER_CONTAINER or spec.get("transformer"):
        return spec, ()
    (container,) = containers
    moved = {**container, "name": "kserve-container", "args": list(_elsewhere(container.get("args") or ()))}
    shared = {name: predictor[name] for name in ("serviceAccountName", "serviceAccount") if predictor.get(name)}
    left = {name: value for name, value in predictor.items() if name != "containers"}
    return {**spec, "predictor": left, "transformer": {**shared, "containers": [moved]}}, (ADAPTED,)


def _elsewhere(args: Any) -> Iterator[str]:
    words = [str(word) for word in args]
    while words:
        word = words.pop(0)
        name, equals, _ = word.partition("=")
        if name not in WHERE:
            yield word
        elif not equals and words:
            words.pop(0)
