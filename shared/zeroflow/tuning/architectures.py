"""What is wrong with a nasConfig, which takes the place of parameters when an architecture is searched.

Source: Katib v1beta1 suggestion services enas and darts (ValidateAlgorithmSettings).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zeroflow.tuning.spec import Object, number

Fault = tuple[str, str]
WHERE = "spec.nasConfig"
PLACEHOLDERS = {
    "enas": ("architecture", "nn_config"),
    "darts": ("algorithm-settings", "search-space", "num-layers"),
}
"""Which references a trial template can use, by algorithm."""


def architecture_faults(nas: Any, algorithm: str) -> Iterator[Fault]:
    """Yield every fault of a nasConfig."""
    if not isinstance(nas, dict):
        yield WHERE, "Invalid value: must be an object"
        return
    graph = nas.get("graphConfig")
    if not isinstance(graph, dict) or not _is_count(graph.get("numLayers")):
        yield f"{WHERE}.graphConfig.numLayers", "Required value: how many layers, a whole number of at least 1"
    for field in ("inputSizes", "outputSizes") if algorithm == "enas" else ():
        sizes = graph.get(field) if isinstance(graph, dict) else None
        if not isinstance(sizes, list) or not sizes or not all(map(_is_count, sizes)):
            yield f"{WHERE}.graphConfig.{field}", "Required value: a list of whole numbers"
    operations = nas.get("operations")
    if not isinstance(operations, list) or not operations:
        yield f"{WHERE}.operations", "Required value: at least one operation"
        return
    for index, operation in enumerate(operations):
        yield from _operation(f"{WHERE}.operations[{index}]", operation, algorithm)


def _operation(where: str, operation: Any, algorithm: str) -> Iterator[Fault]:
    if not isinstance(operation, dict) or not operation.get("operationType"):
        yield f"{where}.operationType", "Required value: the type of an operation"
        return
    parameters = operation.get("parameters")
    if operation["operationType"] == "skip_connection" and algorithm == "darts":
        return
    if not isinstance(parameters, list) or not parameters:
        yield f"{where}.parameters", "Required value: at least one parameter"
        return
    for index, parameter in enumerate(parameters):
        yield from _parameter(f"{where}.parameters[{index}]", parameter, algorithm)


def _parameter(where: str, parameter: Any, algorithm: str) -> Iterator[Fault]:
    if not isinstance(parameter, dict) or not parameter.get("name"):
        yield f"{where}.name", "Required value: a parameter has a name"
        return
    kind = parameter.get("parameterType")
    space: Object = parameter["feasibleSpace"] if isinstance(parameter.get("feasibleSpace"), dict) else {}
    if algorithm == "darts" and kind != "categorical":
        yield f"{where}.parameterType", f'Invalid value: "{kind}": darts takes one categorical parameter, filter_size'
    elif kind in ("categorical", "discrete"):
        if not isinstance(space.get("list"), list) or not space["list"]:
            yield f"{where}.feasibleSpace.list", "Required value: the values"
    elif kind in ("int", "double"):
        for bound in ("min", "max"):
            if number(space.get(bound)) is None:
                yield f"{where}.feasibleSpace.{bound}", f"Required value: must be of type {kind}"
        step = number(space.get("step"))
        if kind == "double" and (step is None or step <= 0):
            yield f"{where}.feasibleSpace.step", "Required value: step must be greater than 0"
    else:
        yield f"{where}.parameterType", f'Unsupported value: "{kind or ""}"'


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
