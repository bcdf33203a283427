"""Bayesian optimisation by Optuna's Gaussian process sampler, which needs torch.

A study is made anew from the history for each suggestion. What else Optuna keeps in memory - how many random numbers
the sampler has drawn, and the kernel that was fitted last, from which the next fit begins - is remembered with the
suggestion: one trial after another, suggestions are those of Optuna's sampler in one process with the same seed.

Without torch, where an acquisition function is named (Optuna has one), and when what it suggests does not fulfil the
constraints, the process is scikit-learn's (`bayesian`).
"""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from zeroflow.functions.trial.algorithms import study
from zeroflow.functions.trial.algorithms.bayesian import INITIAL_POINTS, by_scikit_learn
from zeroflow.functions.trial.algorithms.history import Search, Suggested, Tried
from zeroflow.functions.trial.algorithms.plain import by_chance
from zeroflow.functions.trial.algorithms.space import value_at


def by_gaussian_process(search: Search) -> Suggested:
    """Return the parameters with the greatest expected improvement."""
    initial = int(search.settings.get("n_initial_points", INITIAL_POINTS))
    if sum(each.value is not None for each in search.known) < initial:
        return by_chance(search)
    if search.attempt or "acq_func" in search.settings or find_spec("torch") is None:
        return by_scikit_learn(search)
    import optuna
    import torch

    torch.set_num_threads(1)  # the matrices are small: threads would only wait for each other
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = optuna.samplers.GPSampler(seed=search.seed, n_startup_trials=initial, warn_independent_sampling=False)
        words, kernel = _remembered(search)
        if words:
            sampler._rng.rng.bytes(4 * words)
        if kernel:
            sampler._gprs_cache_list = [_kernel(kernel)]
        before = _copied(sampler._rng.rng)
        suggested = study.asked(search, sampler, [_whole(search, each) for each in search.known])
    words += _drawn(before, sampler._rng.rng)
    return Suggested(suggested, memory=json.dumps([words, *_fitted(sampler)]))


def _whole(search: Search, tried: Tried) -> Tried:
    """Return a trial with every parameter: one that was not searched lies in the middle."""
    middle = {each.name: value_at(each, 0.5) for each in search.parameters if each.name in tried.inactive}
    return replace(tried, parameters={**tried.parameters, **middle}, inactive=frozenset())


def _remembered(search: Search) -> tuple[int, list[float]]:
    """Return how many words of chance were drawn, and the kernel as it was fitted last."""
    last = next((each.memory for each in reversed(search.history) if each.memory), None)
    if last is None:
        return 0, []
    words, *kernel = json.loads(last)
    return int(words), kernel


def _kernel(values: list[float]) -> Any:
    """Return what a fit begins from."""
    import torch

    told = torch.tensor(values, dtype=torch.float64)
    return SimpleNamespace(inverse_squared_lengthscales=told[:-2], kernel_scale=told[-2], noise_var=told[-1])


def _fitted(sampler: Any) -> list[float]:
    if sampler._gprs_cache_list is None:  # there was nothing to choose
        return []
    (process,) = sampler._gprs_cache_list
    scales: list[float] = process.inverse_squared_lengthscales.tolist()
    return [*scales, process.kernel_scale.item(), process.noise_var.item()]


def _copied(source: Any) -> Any:
    import numpy

    copy = numpy.random.RandomState()
    copy.set_state(source.get_state())
    return copy


def _drawn(before: Any, after: Any) -> int:
    """Return how many words of 32 bits lie between two states of a Mersenne Twister; `before` is used up."""
    _, goal, end, *_ = after.get_state()
    words = 0
    while True:
        _, key, at, *_ = before.get_state()
        if (key == goal).all():
            return words + int(end) - int(at)
        to_next_block = 625 - int(at)
        before.bytes(4 * to_next_block)
        words += to_next_block
