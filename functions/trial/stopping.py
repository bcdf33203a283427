"""The rules by which a trial is ended early, made when it is suggested from what the trials before it measured.

* medianstop: once `min_trials_required` trials have succeeded, the mean of their means over the first `start_step`
  values of the objective; a trial whose best value so far is worse at its `start_step`th ends. Katib's meaning.
* median: at every step from `start_step` on, the median of the running means of the others up to that step.
* asha: at the steps min_resource * reduction_factor^k, the limit of the best 1/reduction_factor that got there.

Source: Katib v1beta1 medianstop; Golovin et al., Vizier, KDD 2017 (median stopping rule); Li et al., ASHA, MLSys 2020.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

from zeroflow.tuning.spec import ExperimentSpec, Object

Histories = Mapping[str, Sequence[float]]
"""Trial's uid -> the first values of its objective."""
MIN_TRIALS, START_STEP = 3, 4
MIN_RESOURCE, REDUCTION_FACTOR = 1, 4
MOST_STEPS = 10_000
EVERY_STEP = 200
"""So many steps have a rule of their own; later ones every tenth part further on."""


def steps_needed(spec: ExperimentSpec) -> int:
    """Return how many values of each trial the rules are made from."""
    return _number(spec, "start_step", START_STEP) if spec.early_stopping == "medianstop" else MOST_STEPS


def counts(spec: ExperimentSpec, outcome: str | None) -> bool:
    """Say whether a trial that ended so is compared with; a trial that ended early got as far as it got."""
    return outcome == "Succeeded" or (outcome == "EarlyStopped" and spec.early_stopping == "asha")


def are_alternatives(spec: ExperimentSpec) -> bool:
    """Say whether each of the rules ends a trial, rather than all together."""
    return spec.early_stopping in ("median", "asha")


def rules(spec: ExperimentSpec, histories: Callable[[], Histories]) -> list[Object]:
    """Return the rules of the next trial as its spec holds them."""
    if spec.early_stopping is None:
        return []
    series = [values for values in histories().values() if values]
    limits = {"medianstop": _mean, "median": _medians, "asha": _rungs}[spec.early_stopping](spec, series)
    comparison = "less" if spec.objective.maximize else "greater"
    return [
        {"name": spec.objective.metric, "value": repr(value), "comparison": comparison, "startStep": step}
        for step, value in limits
    ]


def _mean(spec: ExperimentSpec, series: list[Sequence[float]]) -> Iterable[tuple[int, float]]:
    start = _number(spec, "start_step", START_STEP)
    if len(series) >= _number(spec, "min_trials_required", MIN_TRIALS):
        yield start, statistics.fmean(statistics.fmean(values[:start]) for values in series)


def _medians(spec: ExperimentSpec, series: list[Sequence[float]]) -> Iterable[tuple[int, float]]:
    start, least = _number(spec, "start_step", START_STEP), _number(spec, "min_trials_required", MIN_TRIALS)
    running = [[total / count for count, total in enumerate(itertools.accumulate(values), 1)] for values in series]
    for step in _steps(start, max(map(len, series), default=0)):
        means = [values[step - 1] for values in running if len(values) >= step]
        if len(means) < least:
            return
        yield step, statistics.median(means)


def _rungs(spec: ExperimentSpec, series: list[Sequence[float]]) -> Iterable[tuple[int, float]]:
    factor = _number(spec, "reduction_factor", REDUCTION_FACTOR)
    first = _number(spec, "min_resource", MIN_RESOURCE) * factor ** _number(spec, "min_early_stopping_rate", 0)
    best = max if spec.objective.maximize else min
    step = first
    while step <= MOST_STEPS:
        reached = sorted((best(values[:step]) for values in series if len(values) >= step), reverse=best is max)
        if len(reached) < factor:
            return
        yield step, reached[len(reached) // factor - 1]
        step *= factor


def _steps(first: int, last: int) -> Iterable[int]:
    step = first
    while step <= last:
        yield step
        step += 1 if step - first < EVERY_STEP else max(1, step // 10)


def _number(spec: ExperimentSpec, name: str, default: int) -> int:
    return int(spec.stopping_settings.get(name, default))
