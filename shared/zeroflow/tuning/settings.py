"""The algorithms by Katib's names, and the settings that each of them takes.

A setting that an algorithm does not know is a fault that names the setting: a misspelt one would otherwise be silently
without effect. Source: the validators of Katib's hyperopt, Optuna, scikit-optimize and Goptuna suggestion services.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zeroflow.tuning.spec import Object, number

Check = Callable[[str], str | None]
"""Returns what is expected when a value is not it."""


def whole(least: int) -> Check:
    """Return the check for whole numbers of at least this."""

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


def _number(expected: str, is_right: Callable[[float], bool]) -> Check:
    def check(value: str) -> str | None:
        found = number(value)
        return None if found is not None and is_right(found) else expected

    return check


def _or_none(check: Check) -> Check:
    return lambda value: None if value == "None" else check(value)


def _any(value: str) -> str | None:
    return None if value else "a word"


def _absolute(value: str) -> str | None:
    return None if value.startswith("/") and value.strip("/") else "an absolute path"


_share = _number("a number from 0 to 1", lambda value: 0 <= value <= 1)
_above_zero_to_one = _number("a number greater than 0 and at most 1", lambda value: 0 < value <= 1)
_least_zero = _number("a number of at least 0", lambda value: value >= 0)

SEED = {"random_state": whole(0)}
ALGORITHMS: Mapping[str, Mapping[str, Check]] = {
    "random": SEED,
    "grid": SEED,
    "sobol": SEED,
    "tpe": {**SEED, "gamma": _between(0, 1), "prior_weight": _positive, "n_EI_candidates": whole(1)},
    "multivariate-tpe": {**SEED, "n_startup_trials": whole(1), "n_ei_candidates": whole(1)},
    "bayesianoptimization": {
        **SEED,
        "base_estimator": _one_of("GP"),
        "n_initial_points": whole(1),
        "acq_func": _one_of("gp_hedge", "EI", "PI", "LCB"),
        "acq_optimizer": _one_of("auto", "sampling"),
    },
    "cmaes": {**SEED, "sigma": _positive, "restart_strategy": _one_of("none", "None", "ipop")},
    "hyperband": {**SEED, "r_l": _positive, "eta": _positive, "resource_name": _any},
    "pbt": {
        **SEED,
        "suggestion_trial_dir": _absolute,
        "n_population": whole(5),
        "truncation_threshold": _share,
        "resample_probability": _share,
    },
    "nsga2": {
        **SEED,
        "additional_objectives": _any,
        "population_size": whole(2),
        "crossover_prob": _share,
        "mutation_prob": _share,
        "swapping_prob": _share,
    },
    "enas": {
        **SEED,
        "controller_hidden_size": whole(1),
        "controller_temperature": _or_none(_positive),
        "controller_tanh_const": _or_none(_positive),
        "controller_entropy_weight": _or_none(_positive),
        "controller_baseline_decay": _above_zero_to_one,
        "controller_learning_rate": _above_zero_to_one,
        "controller_skip_target": _above_zero_to_one,
        "controller_skip_weight": _or_none(_positive),
        "controller_train_steps": whole(1),
        "controller_log_every_steps": whole(1),
    },
    "darts": {
        "num_epochs": whole(1),
        "w_lr": _least_zero,
        "w_lr_min": _least_zero,
        "w_momentum": _least_zero,
        "w_weight_decay": _least_zero,
        "w_grad_clip": _least_zero,
        "alpha_lr": _least_zero,
        "alpha_weight_decay": _least_zero,
        "batch_size": _or_none(whole(1)),
        "num_workers": whole(0),
        "init_channels": whole(1),
        "print_step": whole(1),
        "num_nodes": whole(1),
        "stem_multiplier": whole(1),
    },
}
REQUIRED: Mapping[str, tuple[str, ...]] = {
    "hyperband": ("r_l", "resource_name"),
    "pbt": ("suggestion_trial_dir", "n_population", "truncation_threshold"),
    "nsga2": ("additional_objectives",),
}
UNKNOWN_IGNORED = ("hyperband", "pbt", "darts")
"""Algorithms of which Katib takes any further setting and does nothing with it."""
ARCHITECTURES = ("enas", "darts")
"""Algorithms that search a nasConfig instead of parameters."""
ENAS_DEFAULTS: Mapping[str, float | None] = {
    "controller_hidden_size": 64,
    "controller_temperature": 5.0,
    "controller_tanh_const": 2.25,
    "controller_entropy_weight": 1e-5,
    "controller_baseline_decay": 0.999,
    "controller_learning_rate": 5e-5,
    "controller_skip_target": 0.4,
    "controller_skip_weight": 0.8,
    "controller_train_steps": 50,
    "controller_log_every_steps": 10,
}
DARTS_DEFAULTS: Mapping[str, float] = {
    "num_epochs": 50,
    "w_lr": 0.025,
    "w_lr_min": 0.001,
    "w_momentum": 0.9,
    "w_weight_decay": 3e-4,
    "w_grad_clip": 5.0,
    "alpha_lr": 3e-4,
    "alpha_weight_decay": 1e-3,
    "batch_size": 128,
    "num_workers": 4,
    "init_channels": 16,
    "print_step": 50,
    "num_nodes": 4,
    "stem_multiplier": 3,
}


def faults(spec: Object, parameters: list[Any], is_served: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield (field, fault) of an Experiment's algorithm and its settings.

    `is_served` tells of another algorithm whether a service suggests by it, which knows its settings.
    """
    algorithm, where = spec["algorithm"], "spec.algorithm"
    name = algorithm.get("algorithmName")
    if not name:
        yield f"{where}.algorithmName", "Required value: must name an algorithm"
        return
    if name not in ALGORITHMS:
        if not is_served(str(name)):
            yield (
                f"{where}.algorithmName",
                f'Invalid value: "{name}": is not an algorithm; there are: {", ".join(ALGORITHMS)}, and those that '
                "the ConfigMap kubeflow/katib-config gives the address of a service for",
            )
        return
    written = algorithm.get("algorithmSettings") or []
    found = list(setting_faults(f"{where}.algorithmSettings", str(name), written, ALGORITHMS[name]))
    yield from found
    settings = {str(each.get("name")): str(each.get("value")) for each in written if isinstance(each, dict)}
    for required in REQUIRED.get(name, ()):
        if required not in settings:
            found.append((where, required))
            yield f"{where}.algorithmSettings", f"Required value: {name} needs the setting {required}"
    if not found:
        described = [each for each in parameters if isinstance(each, dict)]
        yield from _fit(str(name), settings, described, spec)


def setting_faults(where: str, name: str, settings: Any, known: Mapping[str, Check]) -> Iterator[tuple[str, str]]:
    """Yield (field, fault) of the settings of an algorithm that has these."""
    seen: set[str] = set()
    if not isinstance(settings, list):
        yield where, "Invalid value: must be a list of settings"
        return
    for index, setting in enumerate(settings):
        field = f"{where}[{index}]"
        if not isinstance(setting, dict) or "name" not in setting or "value" not in setting:
            yield field, "Required value: a setting has a name and a value"
            continue
        title, value = str(setting["name"]), str(setting["value"])
        if title not in known and name not in UNKNOWN_IGNORED:
            yield (
                f"{field}.name",
                f'Invalid value: "{title}": unknown setting, {name} has no such; it has: {", ".join(sorted(known))}',
            )
        elif title in seen:
            yield f"{field}.name", f'Duplicate value: "{title}"'
        elif title in known and (expected := known[title](value)) is not None:
            yield f"{field}.value", f'Invalid value: "{value}": {title} must be {expected}'
        seen.add(title)


def _fit(name: str, settings: Mapping[str, str], parameters: list[Object], spec: Object) -> Iterator[tuple[str, str]]:
    max_trials = spec.get("maxTrialCount")
    if name == "hyperband":
        yield from _hyperband(settings, parameters, spec)
    if name == "nsga2":
        yield from _objectives(settings, spec)
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


def _hyperband(settings: Mapping[str, str], parameters: list[Object], spec: Object) -> Iterator[tuple[str, str]]:
    where = "spec.algorithm.algorithmSettings"
    named = [each for each in parameters if each.get("name") == settings["resource_name"]]
    if not named:
        yield where, f'Invalid value: "{settings["resource_name"]}": resource_name must be in parameters'
    elif named[0].get("parameterType") not in ("int", "double"):
        yield where, f'Invalid value: "{settings["resource_name"]}": the resource must be of type int or double'
    eta = int(float(settings.get("eta", "3")))
    r_l = float(settings["r_l"])
    if r_l < 1:
        yield where, f'Invalid value: "{settings["r_l"]}": r_l must be at least 1'
        return
    least = eta ** int(math.log(r_l) / math.log(eta) + 1e-9) if eta > 1 else 1
    parallel = spec.get("parallelTrialCount")
    if isinstance(parallel, int) and parallel < least:
        yield "spec.parallelTrialCount", f"Invalid value: {parallel}: must be not less than {least} for hyperband"


def objectives(written: str) -> list[tuple[str, str]]:
    """Read `latency:minimize,size:minimize` of the setting additional_objectives."""
    pairs = (each.strip().rpartition(":") for each in written.split(",") if each.strip())
    return [(metric, direction) for metric, _, direction in pairs]


def _objectives(settings: Mapping[str, str], spec: Object) -> Iterator[tuple[str, str]]:
    metrics = (spec.get("objective") or {}).get("additionalMetricNames") or []
    for metric, direction in objectives(settings["additional_objectives"]):
        if direction not in ("minimize", "maximize") or metric not in metrics:
            yield (
                "spec.algorithm.algorithmSettings",
                f'Invalid value: "{settings["additional_objectives"]}": additional_objectives must be a list as '
                "latency:minimize,accuracy:maximize of metrics that are in additionalMetricNames",
            )
            return


def _points(parameter: Object, space: Object) -> int:
    if parameter.get("parameterType") in ("discrete", "categorical"):
        return len(space.get("list") or ())
    low, high, step = number(space.get("min")), number(space.get("max")), number(space.get("step") or "1")
    if low is None or high is None or not step or step <= 0 or high < low:
        return 0
    return int((high - low) / step + 1e-9) + 1
