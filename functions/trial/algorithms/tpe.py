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

from zeroflow.functions.trial.algorithms import study
from zeroflow.functions.trial.algorithms.history import Search, Suggested
from zeroflow.functions.trial.algorithms.space import draws

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
        return Suggested(study.asked(search, sampler, search.known))


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
