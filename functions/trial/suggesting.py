"""The next assignments of an Experiment, by its algorithm, from what is recorded of it.

The sampler's state is the recorded trials and nothing else: suggestion n follows from the seed (the setting
random_state, or else the Experiment's uid) and the n suggestions before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from zeroflow.errors import ZeroflowError
from zeroflow.functions.trial import conditions, manifests
from zeroflow.functions.trial.algorithms import bayesian, evolution, plain, tpe
from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried
from zeroflow.functions.trial.observing import objective_value
from zeroflow.tuning.spec import ExperimentSpec, Object

ALGORITHMS: Mapping[str, Callable[[Search], Suggested | None]] = {
    "random": plain.by_chance,
    "grid": plain.by_grid,
    "sobol": plain.by_sobol,
    "tpe": tpe.by_tpe,
    "multivariate-tpe": partial(tpe.by_tpe, multivariate=True),
    "cmaes": evolution.by_cmaes,
    "bayesianoptimization": bayesian.by_gaussian_process,
}


class SuggestionFailed(ZeroflowError):
    """The algorithm could not suggest: a library is missing, or it met numbers that it cannot handle."""

    reason = "SuggestionFailed"


def next_assignments(
    experiment: Object, spec: ExperimentSpec, given: list[Object], trials: Mapping[str, Object], count: int
) -> list[Object]:
    """Return up to `count` assignments to follow those that were given; fewer when the space is exhausted."""
    search = Search(
        parameters=spec.parameters,
        settings=spec.settings,
        maximize=spec.objective.maximize,
        seed=_seed(experiment, spec),
        history=tuple(_tried(each, trials.get(each["name"]), spec) for each in given),
    )
    made = []
    for _ in range(count):
        suggested = _suggested(spec.algorithm, search)
        if suggested is None:
            break
        assignment: Object = {
            "name": manifests.trial_name(experiment, search.number),
            "parameterAssignments": [{"name": name, "value": value} for name, value in suggested.parameters.items()],
        }
        if suggested.labels:
            assignment["labels"] = dict(suggested.labels)
        made.append(assignment)
        tried = Tried(suggested.parameters, running=True, labels=suggested.labels)
        search = replace(search, history=(*search.history, tried))
    return made


def _suggested(algorithm: str, search: Search) -> Suggested | None:
    try:
        return ALGORITHMS[algorithm](search)
    except ImportError as error:
        raise SuggestionFailed(f"{algorithm}: {error.name} is not installed: pip install 'zeroflow[trial]'") from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise SuggestionFailed(f"{algorithm}: {type(error).__name__}: {error}") from error


def _tried(assignment: Object, trial: Object | None, spec: ExperimentSpec) -> Tried:
    status = (trial or {}).get("status") or {}
    outcome = conditions.outcome(status)
    value = objective_value(status.get("observation"), spec.objective) if outcome == "Succeeded" else None
    return Tried(
        {each["name"]: each["value"] for each in assignment["parameterAssignments"]},
        value,
        running=outcome is None,
        labels=assignment.get("labels") or {},
    )


def _seed(experiment: Object, spec: ExperimentSpec) -> int:
    if "random_state" in spec.settings:
        return int(spec.settings["random_state"])
    return int.from_bytes(hashlib.sha256(experiment["metadata"]["uid"].encode()).digest()[:4], "big")
