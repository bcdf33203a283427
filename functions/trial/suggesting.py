"""The next assignments of an Experiment, by its algorithm, from what is recorded of it.

The sampler's state is the recorded trials and nothing else: suggestion n follows from the seed (the setting
random_state, or else the Experiment's uid) and the n suggestions before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.functions.trial import conditions, manifests
from zeroflow.functions.trial.algorithms import (
    evolution,
    gaussian,
    hyperband,
    nas,
    nsga2,
    plain,
    population,
    tpe,
)
from zeroflow.functions.trial.algorithms.history import (
    INFEASIBLE_TRIES,
    Algorithm,
    Search,
    Suggested,
    Tried,
    Wait,
)
from zeroflow.functions.trial.observing import metric_value, objective_value
from zeroflow.functions.trial.records import Ended
from zeroflow.tuning import expressions
from zeroflow.tuning.extensions import Extensions
from zeroflow.tuning.settings import objectives
from zeroflow.tuning.spec import ExperimentSpec, Object, Parameter

ALGORITHMS: Mapping[str, Algorithm] = {
    "random": plain.by_chance,
    "grid": plain.by_grid,
    "sobol": plain.by_sobol,
    "tpe": tpe.by_tpe,
    "multivariate-tpe": tpe.by_tpe,
    "cmaes": evolution.by_cmaes,
    "bayesianoptimization": gaussian.by_gaussian_process,
    "hyperband": hyperband.by_hyperband,
    "pbt": population.by_population,
    "nsga2": nsga2.by_nsga2,
    "enas": nas.by_enas,
    "darts": nas.by_darts,
}


class SuggestionFailed(ZeroflowError):
    """The algorithm could not suggest: a library is missing, or it met numbers that it cannot handle."""

    reason = "SuggestionFailed"


@dataclass(frozen=True)
class Suggestions:
    """What an algorithm has suggested."""

    assignments: list[Object] = field(default_factory=list)
    exhausted: bool = False
    """There is nothing more to try, whatever happens."""


def next_assignments(
    experiment: Object,
    spec: ExperimentSpec,
    given: Sequence[Object],
    trials: Mapping[str, Object],
    count: int,
    extensions: Extensions | None = None,
    earlier: Callable[[str], list[Ended]] | None = None,
    ended: dict[str, Tried] | None = None,
) -> Suggestions:
    """Suggest up to `count` assignments to follow those that were given.

    `ended` remembers what is learned from trials that have ended.
    """
    extensions = extensions or Extensions()
    search = begun(experiment, spec, given, trials, extensions, earlier, ended)
    made: list[Object] = []
    for _ in range(count):
        suggested = _feasible(spec.algorithm, search, extensions)
        if isinstance(suggested, Wait) or suggested is None:
            return Suggestions(made, exhausted=suggested is None)
        name = manifests.trial_name(experiment, search.number)
        assignment: Object = {
            "name": name,
            "parameterAssignments": [{"name": key, "value": value} for key, value in suggested.parameters.items()],
        }
        if suggested.labels:
            assignment["labels"] = dict(suggested.labels)
        if suggested.memory:
            assignment["annotations"] = {manifests.SAMPLER: suggested.memory}
        made.append(assignment)
        tried = _tried(assignment, None, spec, extensions, search.parameters)
        search = replace(search, history=(*search.history, tried))
    return Suggestions(made)


def begun(
    experiment: Object,
    spec: ExperimentSpec,
    given: Sequence[Object],
    trials: Mapping[str, Object],
    extensions: Extensions,
    earlier: Callable[[str], list[Ended]] | None = None,
    ended: dict[str, Tried] | None = None,
) -> Search:
    """Return the search as far as it has come."""
    by_name = {each.name: each for each in spec.parameters}
    ended = {} if ended is None else ended
    history = []
    for each in given:
        tried = ended.get(each["name"])
        if tried is None:
            tried = _tried(each, trials.get(each["name"]), spec, extensions, spec.parameters)
            if not tried.running:
                ended[tried.name] = tried
        history.append(tried)
    return Search(
        parameters=spec.parameters,
        settings=spec.settings,
        maximize=spec.objective.maximize,
        seed=_seed(experiment, spec),
        history=tuple(history),
        prior=tuple(_prior(spec, extensions, earlier)) if earlier is not None else (),
        nas=spec.nas,
        directions=_directions(spec),
        is_feasible=lambda assigned: all(expressions.holds(each, assigned, by_name) for each in extensions.constraints),
    )


def _feasible(algorithm: str, search: Search, extensions: Extensions) -> Suggested | Wait | None:
    """Return a suggestion that fulfils the constraints, with the parameters that are not searched here set."""
    by_name = {each.name: each for each in search.parameters}
    for attempt in range(INFEASIBLE_TRIES if extensions.constraints else 1):
        suggested = _suggested(algorithm, replace(search, attempt=attempt))
        if not isinstance(suggested, Suggested):
            return suggested
        assigned = dict(suggested.parameters)
        for name in _inactive(assigned, extensions, by_name):
            assigned[name] = extensions.conditional[name].otherwise
        try:
            if suggested.repairs or search.is_feasible(assigned):
                return Suggested(assigned, suggested.labels, memory=suggested.memory)
        except InvalidInput as error:
            raise SuggestionFailed(str(error)) from error
    raise SuggestionFailed(
        f"{algorithm}: none of {INFEASIBLE_TRIES} assignments fulfils the constraints "
        f"{', '.join(extensions.constraints)}; widen the space or loosen them"
    )


def _inactive(assigned: Mapping[str, str], extensions: Extensions, by_name: Mapping[str, Parameter]) -> list[str]:
    return [
        name for name, each in extensions.conditional.items() if not expressions.holds(each.when, assigned, by_name)
    ]


def _suggested(algorithm: str, search: Search) -> Suggested | Wait | None:
    try:
        return ALGORITHMS[algorithm](search)
    except ImportError as error:
        extra = "torch" if error.name == "torch" else "trial"
        raise SuggestionFailed(
            f"{algorithm}: {error.name} is not installed: pip install 'zeroflow[{extra}]'"
        ) from error
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise SuggestionFailed(f"{algorithm}: {type(error).__name__}: {error}") from error


def _tried(
    assignment: Object,
    trial: Object | None,
    spec: ExperimentSpec,
    extensions: Extensions,
    parameters: tuple[Parameter, ...],
) -> Tried:
    status = (trial or {}).get("status") or {}
    outcome = conditions.outcome(status)
    assigned = {each["name"]: each["value"] for each in assignment["parameterAssignments"]}
    measured = status.get("observation") if outcome in ("Succeeded", "EarlyStopped") else None
    return Tried(
        assigned,
        objective_value(measured, spec.objective),
        running=outcome is None,
        labels=assignment.get("labels") or {},
        values=_values(measured, spec),
        name=assignment["name"],
        inactive=frozenset(_inactive(assigned, extensions, {each.name: each for each in parameters})),
        memory=(assignment.get("annotations") or {}).get(manifests.SAMPLER, ""),
    )


def _prior(spec: ExperimentSpec, extensions: Extensions, earlier: Callable[[str], list[Ended]]) -> list[Tried]:
    """Return the trials of earlier Experiments whose parameters lie in this one's space."""
    found = []
    for name in extensions.warm_start:
        trials = earlier(name)
        if not trials:
            raise SuggestionFailed(f"warm-start: no Experiment {name!r} of this namespace has trials that ended")
        for each in trials:
            value = objective_value(each.observation, spec.objective)
            if each.state != "Succeeded" or value is None or not _fits(spec.parameters, each.parameters):
                continue
            assigned = {parameter.name: each.parameters[parameter.name] for parameter in spec.parameters}
            found.append(Tried(assigned, value, values=_values(each.observation, spec), name=each.name))
    return found


def _fits(parameters: tuple[Parameter, ...], assigned: Mapping[str, str]) -> bool:
    return all(each.name in assigned and each.holds(assigned[each.name]) for each in parameters)


def _values(observed: Object | None, spec: ExperimentSpec) -> tuple[float | None, ...]:
    if spec.algorithm != "nsga2":
        return ()
    named = objectives(spec.settings["additional_objectives"])
    others = (
        metric_value(observed, metric, "max" if direction == "maximize" else "min") for metric, direction in named
    )
    return (objective_value(observed, spec.objective), *others)


def _directions(spec: ExperimentSpec) -> tuple[bool, ...]:
    if spec.algorithm != "nsga2":
        return ()
    named = objectives(spec.settings["additional_objectives"])
    return (spec.objective.maximize, *(direction == "maximize" for _, direction in named))


def _seed(experiment: Object, spec: ExperimentSpec) -> int:
    if "random_state" in spec.settings:
        return int(spec.settings["random_state"])
    return int.from_bytes(hashlib.sha256(experiment["metadata"]["uid"].encode()).digest()[:4], "big")
