"""A search as Optuna sees it: a study that is made anew, with the trials so far, and asked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zeroflow.functions.trial.algorithms.history import Search, Tried
from zeroflow.functions.trial.algorithms.space import coordinate_of, snapped, value_at
from zeroflow.tuning.spec import Parameter


def asked(search: Search, sampler: Any, known: Sequence[Tried]) -> dict[str, str]:
    """Return what one of Optuna's samplers suggests after these trials."""
    import optuna

    study = optuna.create_study(direction="maximize" if search.maximize else "minimize", sampler=sampler)
    distributions = {each.name: _distribution(each) for each in search.parameters}
    study.add_trials([_frozen(search, tried, distributions) for tried in known])
    params = study.ask(distributions).params
    return {each.name: _written(each, params[each.name]) for each in search.parameters}


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
