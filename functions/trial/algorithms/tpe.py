"""Tree-structured Parzen estimators, by Optuna.

A study is made anew from the history for each suggestion, and the sampler's random numbers go on where the suggestion
before left them (`stream`): one trial after another, suggestions are those of Optuna's sampler in one process with the
same seed. Trials that run stand in the study with the constant liar, so that those that run side by side do not try
the same.

All parameters are looked at together (Optuna's default since version 5), under both of Katib's names.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried
from zeroflow.functions.trial.algorithms.space import coordinate_of, draws, snapped, value_at
from zeroflow.tuning.spec import Parameter

MOST_GOOD = 25
"""As in Optuna's and hyperopt's own rule: no more trials than these count as the good ones."""


def by_tpe(search: Search) -> Suggested:
    """Return the parameters whose likeness to good trials, against that to the others, is greatest."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental or deprecated arguments: ours to know, not the operator's
        sampler = optuna.samplers.TPESampler(
            seed=search.seed_of() if search.attempt else search.seed,
            multivariate=True,
            group=any(tried.inactive for tried in search.known),
            constant_liar=True,
            **_options(search.settings),
        )
        if not search.attempt:
            _forward(sampler, search)
        study = optuna.create_study(direction="maximize" if search.maximize else "minimize", sampler=sampler)
        distributions = {each.name: _distribution(each) for each in search.parameters}
        study.add_trials([_frozen(search, tried, distributions) for tried in search.known])
        asked = study.ask(distributions)
    return Suggested({each.name: _written(each, asked.params[each.name]) for each in search.parameters})


def _forward(sampler: Any, search: Search) -> None:
    """Have the sampler draw what it has drawn for the suggestions before this one."""
    started = ended = 0
    for count, tried in enumerate(search.known, -len(search.prior)):
        started += count >= 0 and ended < sampler._n_startup_trials
        ended += tried.value is not None
    searched = sum(draws(each) > 0 for each in search.parameters)
    drawn = sampler._n_ei_candidates * (1 + searched)  # which of the kernels, and a place in each dimension
    sampler._random_sampler._rng.rng.random_sample(started * sum(map(draws, search.parameters)))
    sampler._rng.rng.random_sample((search.number - started) * drawn)


def _options(settings: Any) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if "n_startup_trials" in settings:
        options["n_startup_trials"] = int(settings["n_startup_trials"])
    for name in ("n_ei_candidates", "n_EI_candidates"):
        if name in settings:
            options["n_ei_candidates"] = int(settings[name])
    if "prior_weight" in settings:
        options["prior_weight"] = float(settings["prior_weight"])
    if "gamma" in settings:
        share = float(settings["gamma"])
        options["gamma"] = lambda count: min(math.ceil(share * count), MOST_GOOD)
    return options


def _is_bell(parameter: Parameter) -> bool:
    return parameter.is_numeric and parameter.distribution in ("normal", "logNormal")


def _distribution(parameter: Parameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not parameter.is_numeric:
        return CategoricalDistribution(parameter.choices)
    if _is_bell(parameter):
        return FloatDistribution(0.0, 1.0)
    log = parameter.distribution == "logUniform"
    if parameter.kind == "int":
        return IntDistribution(
            int(parameter.low), int(parameter.high), log=log, step=1 if log else int(float(parameter.step or 1))
        )
    step = None if log or parameter.step is None else float(parameter.step)
    return FloatDistribution(parameter.low, parameter.high, log=log, step=step)


def _internal(parameter: Parameter, value: str) -> Any:
    if not parameter.is_numeric:
        return value
    if _is_bell(parameter):
        return coordinate_of(parameter, value)
    return int(value) if parameter.kind == "int" else float(value)


def _written(parameter: Parameter, value: Any) -> str:
    if not parameter.is_numeric:
        return str(value)
    return value_at(parameter, value) if _is_bell(parameter) else snapped(parameter, float(value))


def _frozen(search: Search, tried: Tried, distributions: dict[str, Any]) -> Any:
    from optuna.trial import TrialState, create_trial

    active = [each for each in search.parameters if each.name not in tried.inactive]
    params = {each.name: _internal(each, tried.parameters[each.name]) for each in active}
    distributions = {each.name: distributions[each.name] for each in active}
    state = TrialState.RUNNING if tried.running else TrialState.FAIL if tried.value is None else TrialState.COMPLETE
    return create_trial(
        params=params, distributions=distributions, state=state, value=None if tried.running else tried.value
    )
