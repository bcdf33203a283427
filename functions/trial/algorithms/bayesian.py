"""Bayesian optimisation: a Gaussian process over the unit cube, by scikit-learn.

Coordinates are those of `space`, lists one coordinate per value. The next point is the best of many candidates by an
acquisition function, looked for ever closer around the best of them; trials that run count as if they had come out at
the mean of the others. `gp_hedge` takes expected improvement, probability of
improvement and the confidence bound in turns.
Source: Katib's scikit-optimize settings (n_initial_points, acq_func).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from typing import Any

from zeroflow.functions.trial.algorithms.history import Search, Suggested
from zeroflow.functions.trial.algorithms.plain import by_chance
from zeroflow.functions.trial.algorithms.space import coordinate_of, value_at
from zeroflow.tuning.spec import Parameter

INITIAL_POINTS = 10
CANDIDATES = 1000
NEAR = 200
SPREADS = (0.1, 0.03, 0.01, 0.003)
"""How far around the best the next candidates lie, in shares of each parameter's range."""
KEPT = 4
IN_TURNS = ("EI", "PI", "LCB")
EXPLORATION, KAPPA = 0.01, 1.96
"""Of expected and probable improvement, in standard deviations; of the confidence bound. As in scikit-optimize."""


def by_scikit_learn(search: Search) -> Suggested:
    """Return the most promising of many candidates; there are trials with a value."""
    import numpy

    done = [each for each in search.known if each.value is not None]
    losses = numpy.array([search.loss(each) for each in done])
    running = [each for each in search.history if each.running]
    known = numpy.array([features(search.parameters, each.parameters, each.inactive) for each in (*done, *running)])
    values = numpy.concatenate([losses, numpy.full(len(running), losses.mean())])
    values = (values - values.mean()) / (values.std() or 1.0)
    chance = numpy.random.default_rng(search.seed_of("candidates"))
    best = done[int(losses.argmin())]
    centre = numpy.array([_place(each, best.parameters, best.inactive) for each in search.parameters])
    process = _fitted(known, values, search.seed_of("fit"))
    least = float(values[: len(done)].min())
    places = chance.random((CANDIDATES, len(search.parameters)))
    chosen: list[tuple[float, dict[str, str], Any]] = []
    for spread in SPREADS:
        around = numpy.array([centre, *(place for _, _, place in chosen)])
        near = numpy.repeat(around, NEAR // len(around), axis=0)
        places = numpy.concatenate([places, numpy.clip(near + chance.normal(0, spread, near.shape), 0, 1)])
        chosen = _best(search, process, least, places, chosen)
        places = places[:0]
    return Suggested(chosen[0][1] if chosen else by_chance(search).parameters)


def _best(
    search: Search, process: Any, least: float, places: Any, kept: list[tuple[float, dict[str, str], Any]]
) -> Any:
    """Return the most promising places, the best first: of these and of those that were kept."""
    import numpy

    found = []
    for place in places:
        assignment = {each.name: value_at(each, float(at)) for each, at in zip(search.parameters, place, strict=True)}
        if search.is_feasible(assignment):
            found.append((assignment, place))
    if not found:
        return kept
    expected, deviation = process.predict(
        numpy.array([features(search.parameters, assignment) for assignment, _ in found]), return_std=True
    )
    scores = _acquisition(search, expected, numpy.maximum(deviation, 1e-9), least)
    order = numpy.argsort(-scores, kind="stable")[:KEPT]
    new = [(float(scores[at]), *found[at]) for at in order]
    return sorted([*kept, *new], key=lambda each: -each[0])[:KEPT]


def _fitted(known: Any, values: Any, seed: int) -> Any:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    scales = [0.3] * known.shape[1]
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(scales, (0.02, 20.0), nu=2.5) + WhiteKernel(1e-4, (1e-8, 1.0))
    process = GaussianProcessRegressor(kernel, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a scale at its bound: that parameter does not matter
        return process.fit(known, values)


def _acquisition(search: Search, expected: Any, deviation: Any, best: float) -> Any:
    from scipy.stats import norm  # type: ignore[import-untyped]  # scipy ships no types

    chosen = search.settings.get("acq_func", "gp_hedge")
    if chosen == "gp_hedge":
        chosen = IN_TURNS[search.number % len(IN_TURNS)]
    if chosen == "LCB":
        return KAPPA * deviation - expected
    gain = best - EXPLORATION - expected
    if chosen == "PI":
        return norm.cdf(gain / deviation)
    return gain * norm.cdf(gain / deviation) + deviation * norm.pdf(gain / deviation)


def features(
    parameters: tuple[Parameter, ...], assignment: Mapping[str, str], inactive: Collection[str] = ()
) -> list[float]:
    """Return an assignment as numbers; what was not searched lies in the middle."""
    found: list[float] = []
    for each in parameters:
        if each.is_numeric:
            found.append(_place(each, assignment, inactive))
        else:
            found += [float(each.name not in inactive and choice == assignment[each.name]) for choice in each.choices]
    return found


def _place(parameter: Parameter, assignment: Mapping[str, str], inactive: Collection[str]) -> float:
    return 0.5 if parameter.name in inactive else coordinate_of(parameter, assignment[parameter.name])
