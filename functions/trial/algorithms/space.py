"""Parameters as coordinates between 0 and 1, and back.

A coordinate is the share of the parameter's distribution below a value, so that a uniform coordinate gives Katib's
uniform, logUniform, normal or logNormal parameter. Normal ones are cut off at min and max, with the mean in the middle
and a sixth of the range as standard deviation, as Katib's random search has them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from decimal import Decimal
from statistics import NormalDist

from zeroflow.tuning.spec import Parameter

Assignment = Mapping[str, str]


def value_at(parameter: Parameter, coordinate: float) -> str:
    """Return the value of a parameter at a coordinate in [0, 1]."""
    coordinate = min(max(coordinate, 0.0), 1.0)
    if not parameter.is_numeric:
        return parameter.choices[min(int(coordinate * len(parameter.choices)), len(parameter.choices) - 1)]
    if parameter.distribution == "uniform" and (parameter.kind == "int" or parameter.step):
        return _on_grid(parameter, min(int(coordinate * points(parameter)), points(parameter) - 1))
    return snapped(parameter, _quantile(parameter, coordinate))


def draws(parameter: Parameter) -> int:
    """Return how many random numbers `drawn` takes: one for each value of a list, none where there is no choice."""
    if not parameter.is_numeric:
        return len(parameter.choices) if len(parameter.choices) > 1 else 0
    return int(parameter.low < parameter.high)


def drawn(parameter: Parameter, chance: random.Random) -> str:
    """Return a value by chance, as Optuna draws it."""
    numbers = [chance.random() for _ in range(draws(parameter))]
    if not parameter.is_numeric:
        return parameter.choices[max(range(len(numbers)), key=numbers.__getitem__, default=0)]
    return value_at(parameter, numbers[0] if numbers else 0.0)


def coordinate_of(parameter: Parameter, value: str) -> float:
    """Return the coordinate of a value; of a value on a grid, the middle of its cell."""
    if not parameter.is_numeric:
        return (parameter.choices.index(value) + 0.5) / len(parameter.choices)
    number = float(value)
    if parameter.distribution == "uniform" and (parameter.kind == "int" or parameter.step):
        return (round((number - parameter.low) / float(parameter.step or 1)) + 0.5) / points(parameter)
    return _share(parameter, number)


def points(parameter: Parameter) -> int:
    """Return how many values a numeric parameter with a step has; an int's step is 1 unless it says otherwise."""
    span = Decimal(repr(parameter.high)) - Decimal(repr(parameter.low))
    return int(span / Decimal(parameter.step or "1")) + 1


def snapped(parameter: Parameter, value: float) -> str:
    """Return the nearest value that the parameter's type and step allow."""
    if parameter.kind == "double" and parameter.step is None:
        return parameter.written(min(max(value, parameter.low), parameter.high))
    index = round((value - parameter.low) / float(parameter.step or 1))
    return _on_grid(parameter, min(max(index, 0), points(parameter) - 1))


def _on_grid(parameter: Parameter, index: int) -> str:
    value = Decimal(repr(parameter.low)) + Decimal(parameter.step or "1") * index
    return parameter.written(float(value))


def _quantile(parameter: Parameter, coordinate: float) -> float:
    low, high = _bounds(parameter)
    if parameter.distribution in ("normal", "logNormal") and low < high:
        bell = NormalDist((low + high) / 2, (high - low) / 6)
        below, above = bell.cdf(low), bell.cdf(high)
        value = bell.inv_cdf(below + coordinate * (above - below))
    else:
        value = low + coordinate * (high - low)
    return math.exp(value) if parameter.distribution.startswith("log") else value


def _share(parameter: Parameter, number: float) -> float:
    low, high = _bounds(parameter)
    value = math.log(number) if parameter.distribution.startswith("log") else number
    if low == high:
        return 0.5
    if parameter.distribution in ("normal", "logNormal"):
        bell = NormalDist((low + high) / 2, (high - low) / 6)
        below, above = bell.cdf(low), bell.cdf(high)
        return min(max((bell.cdf(value) - below) / (above - below), 0.0), 1.0)
    return (value - low) / (high - low)


def _bounds(parameter: Parameter) -> tuple[float, float]:
    if parameter.distribution == "logUniform" and parameter.kind == "int":  # each value up to the middle of the next
        return math.log(parameter.low - 0.5), math.log(parameter.high + 0.5)
    if parameter.distribution.startswith("log"):
        return math.log(parameter.low), math.log(parameter.high)
    return parameter.low, parameter.high
