"""The early stopping algorithms by name, and the settings that each of them takes.

medianstop is Katib's, which is a mean; `median` is the median stopping rule as published; `asha` is asynchronous
successive halving, with the settings of Optuna's SuccessiveHalvingPruner.
Source: Katib v1beta1 early stopping spec, medianstop settings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from zeroflow.tuning.settings import Check, setting_faults, whole
from zeroflow.tuning.spec import Object

WHERE = "spec.earlyStopping"
ALGORITHMS: Mapping[str, Mapping[str, Check]] = {
    "medianstop": {"min_trials_required": whole(1), "start_step": whole(1)},
    "median": {"min_trials_required": whole(1), "start_step": whole(1)},
    "asha": {"min_resource": whole(1), "reduction_factor": whole(2), "min_early_stopping_rate": whole(0)},
}
COLLECTORS = ("StdOut", "File", "TensorFlowEvent", "PrometheusMetric")
"""Collectors whose values are seen while the trial runs."""


def early_stopping_faults(spec: Object) -> Iterator[tuple[str, str]]:
    """Yield (field, fault) of an Experiment's early stopping."""
    given: Any = spec.get("earlyStopping")
    if given is None:
        return
    if not isinstance(given, dict):
        yield WHERE, "Invalid value: must be an object"
        return
    name = given.get("algorithmName")
    if not name:
        yield f"{WHERE}.algorithmName", "Required value: must be specified"
        return
    if name not in ALGORITHMS:
        yield (
            f"{WHERE}.algorithmName",
            f'Invalid value: "{name}": is no early stopping algorithm; there are: {", ".join(ALGORITHMS)}',
        )
        return
    settings = given.get("algorithmSettings") or []
    yield from setting_faults(f"{WHERE}.algorithmSettings", str(name), settings, ALGORITHMS[name])
    collector = ((spec.get("metricsCollectorSpec") or {}).get("collector") or {}).get("kind")
    if collector not in COLLECTORS:
        yield (
            WHERE,
            f"Forbidden: with the collector {collector} no values are seen while a trial runs; early stopping works "
            f"with {', '.join(COLLECTORS)}",
        )
