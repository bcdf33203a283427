"""The algorithms by Katib's names, and the settings that each of them takes.

A setting that an algorithm does not know is a fault that names the setting: a misspelt one would otherwise be silently
without effect. Source: the validators of Katib's hyperopt, Optuna, scikit-optimize and Goptuna suggestion services.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zeroflow.tuning.spec import Object, number

Check = Callable[[str], str | None]
"""Returns what is expected when a value is not it."""


def _whole(least: int) -> Check:
    def check(value: str) -> str | None:
        try:
            return None if int(value) >= least else f"a whole number of at least {least}"
        except ValueError:
            return f"a whole number of at least {least}"

    return check


def _between(low: float, high: float) -> Check:
    def check(value: str) -> str | None:
        found = number(value)
        return None if found is not None and low < found < high else f"a number between {low:g} and {high:g}"

    return check


def _positive(value: str) -> str | None:
    found = number(value)
    return None if found is not None and found > 0 else "a number greater than 0"


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else " or ".join(words)


SEED = {"random_state": _whole(0)}
ALGORITHMS: Mapping[str, Mapping[str, Check]] = {
    "random": SEED,
    "grid": SEED,
    "sobol": SEED,
    "tpe": {**SEED, "gamma": _between(0, 1), "prior_weight": _positive, "n_EI_candidates": _whole(1)},
    "multivariate-tpe": {**SEED, "n_startup_trials": _whole(1), "n_ei_candidates": _whole(1)},
    "bayesianoptimization": {
        **SEED,
        "base_estimator": _one_of("GP"),
        "n_initial_points": _whole(1),
        "acq_func": _one_of("gp_hedge", "EI", "PI", "LCB"),
        "acq_optimizer": _one_of("auto", "sampling"),
    },
    "cmaes": {**SEED, "sigma": _positive, "restart_strategy": _one_of("none", "None")},
}
ELSEWHERE = ("hyperband", "pbt", "enas", "darts")
"""Katib's algorithms that Zeroflow does not have."""


def faults(algorithm: Object, parameters: list[Any], max_trials: Any) -> Iterator[tuple[str, str]]:
    """Yield (field, fault) of an algorithm and its settings."""
    name, where = algorithm.get("algorithmName"), "spec.algorithm"
    if not name:
        yield f"{where}.algorithmName", "Required value: must name an algorithm"
        return
    if name not in ALGORITHMS:
        fault = "is not available in Zeroflow" if name in ELSEWHERE else "is not an algorithm"
        yield f"{where}.algorithmName", f'Invalid value: "{name}": {fault}; there are: {", ".join(ALGORITHMS)}'
        return
    known, seen = ALGORITHMS[name], set()
    for index, setting in enumerate(algorithm.get("algorithmSettings") or ()):
        field = f"{where}.algorithmSettings[{index}]"
        if not isinstance(setting, dict) or "name" not in setting or "value" not in setting:
            yield field, "Required value: a setting has a name and a value"
            continue
        title, value = str(setting["name"]), str(setting["value"])
        if title not in known:
            yield (
                f"{field}.name",
                f'Invalid value: "{title}": {name} has no such setting; it has: {", ".join(sorted(known))}',
            )
        elif title in seen:
            yield f"{field}.name", f'Duplicate value: "{title}"'
        elif (expected := known[title](value)) is not None:
            yield f"{field}.value", f'Invalid value: "{value}": {title} must be {expected}'
        seen.add(title)
    yield from _fit(str(name), [each for each in parameters if isinstance(each, dict)], max_trials)


def _fit(name: str, parameters: list[Object], max_trials: Any) -> Iterator[tuple[str, str]]:
    numeric = [each for each in parameters if each.get("parameterType") in ("double", "int")]
    if name == "cmaes" and len(numeric) < 2:
        yield "spec.parameters", "Invalid value: cmaes needs at least two parameters of type double or int"
    if name != "grid":
        return
    combinations = 1
    for index, each in enumerate(parameters):
        space = each.get("feasibleSpace") or {}
        if each.get("parameterType") == "double" and not space.get("step"):
            yield (
                f"spec.parameters[{index}].feasibleSpace.step",
                f'Required value: grid needs a step for parameter "{each.get("name")}" of type double',
            )
            return
        combinations *= _points(each, space)
    if isinstance(max_trials, int) and combinations and max_trials > combinations:
        yield (
            "spec.maxTrialCount",
            f"Invalid value: {max_trials}: the grid has only {combinations} combinations of parameters",
        )


def _points(parameter: Object, space: Object) -> int:
    if parameter.get("parameterType") in ("discrete", "categorical"):
        return len(space.get("list") or ())
    low, high, step = number(space.get("min")), number(space.get("max")), number(space.get("step") or "1")
    if low is None or high is None or not step or step <= 0 or high < low:
        return 0
    return int((high - low) / step + 1e-9) + 1
