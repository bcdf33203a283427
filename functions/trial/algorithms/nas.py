"""Searches for an architecture: ENAS, whose controller learns from the trials, and DARTS, whose trial is the search.

Both write their suggestions as Katib's trial images read them: JSON with single quotes. ENAS: `architecture`, for each
layer an operation and for each earlier layer whether it is skipped to, and `nn_config`, what the operations are.
DARTS: `algorithm-settings`, `search-space` and `num-layers`.
Source: Katib v1beta1 suggestion services enas and darts.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zeroflow.functions.trial.algorithms.history import Search, Suggested
from zeroflow.tuning.settings import DARTS_DEFAULTS, ENAS_DEFAULTS
from zeroflow.tuning.spec import parse_parameter

if TYPE_CHECKING:
    from zeroflow.functions.trial.algorithms.controller import Controller

_LAST: dict[Any, tuple[list[tuple[str, float]], Controller]] = {}
"""The controller of the suggestion before, which is dear to train anew; a new one would come out the same."""


def by_darts(search: Search) -> Suggested:
    """Return the one suggestion there is: the search space for the trial to search in."""
    assert search.nas is not None
    settings = {**DARTS_DEFAULTS, **{name: _setting(value) for name, value in search.settings.items()}}
    return Suggested(
        {
            "algorithm-settings": _written(settings),
            "search-space": _written(_primitives(search.nas)),
            "num-layers": str(search.nas["graphConfig"]["numLayers"]),
        },
        repairs=True,
    )


def by_enas(search: Search) -> Suggested:
    """Return an architecture from the controller, trained on what the architectures before were worth."""
    assert search.nas is not None
    graph, operations = search.nas["graphConfig"], _operations(search.nas)
    controller = _trained(search, int(graph["numLayers"]), len(operations))
    architecture = controller.sample(search.seed_of("enas"))
    config = {
        "num_layers": int(graph["numLayers"]),
        "input_sizes": list(graph["inputSizes"]),
        "output_sizes": list(graph["outputSizes"]),
        "embedding": {str(layer[0]): operations[layer[0]] for layer in architecture},
    }
    return Suggested({"architecture": _written(architecture), "nn_config": _written(config)}, repairs=True)


def _trained(search: Search, layers: int, operations: int) -> Controller:
    """Return the controller that has learned from the history; the one before goes on where it can."""
    from zeroflow.functions.trial.algorithms.controller import Controller

    settings = _enas_settings(search)
    key = (search.seed, layers, operations, *sorted(settings.items()))
    lessons = [
        (tried.parameters["architecture"], -search.loss(tried)) for tried in search.history if tried.value is not None
    ]
    learned, controller = _LAST.pop(key, ([], None))
    if controller is None or learned != lessons[: len(learned)]:
        learned, controller = [], Controller(layers, operations, settings, search.seed)
    for architecture, reward in lessons[len(learned) :]:
        controller.learn(json.loads(architecture), reward)
    _LAST.clear()
    _LAST[key] = (lessons, controller)
    return controller


def _enas_settings(search: Search) -> dict[str, float | None]:
    given = {name: None if value == "None" else float(value) for name, value in search.settings.items()}
    return {**ENAS_DEFAULTS, **given}


def _operations(nas: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every operation with every combination of its parameters, numbered."""
    found: list[dict[str, Any]] = []
    for operation in nas["operations"]:
        parameters = [parse_parameter(each) for each in operation.get("parameters") or ()]
        for values in itertools.product(*(each.grid() or () for each in parameters)):
            chosen = {
                each.name: int(value) if each.kind == "int" else value
                for each, value in zip(parameters, values, strict=True)
            }
            found.append({"opt_id": len(found), "opt_type": operation["operationType"], "opt_params": chosen})
    return found


def _primitives(nas: Mapping[str, Any]) -> list[str]:
    names: list[str] = []
    for operation in nas["operations"]:
        kind = operation["operationType"]
        if kind == "skip_connection":
            names.append(kind)
            continue
        sizes = operation["parameters"][0]["feasibleSpace"]["list"]
        names += [f"{kind}_{size}x{size}" for size in sizes]
    return names


def _setting(value: str) -> str | None:
    return None if value == "None" else value


def _written(value: Any) -> str:
    return json.dumps(value).replace('"', "'")
