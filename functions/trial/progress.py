"""How far an Experiment has come, whether it is over, and how its status says so.

Everything here follows from the spec and the Trials, in the order of their suggestions.
Source: Katib v1beta1 (order of the verdicts, counters and lists of ExperimentStatus, reasons). On purpose otherwise:
an Experiment whose trials have all ended without one that succeeded has Failed, where Katib calls it Succeeded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from zeroflow.functions.trial import conditions
from zeroflow.functions.trial.observing import UNAVAILABLE, objective_value
from zeroflow.resources.conditions import now
from zeroflow.tuning.extensions import Extensions
from zeroflow.tuning.spec import ExperimentSpec, Object, Objective

FIELDS: Mapping[str, tuple[str, str]] = {
    "Pending": ("trialsPending", "pendingTrialList"),
    "Running": ("trialsRunning", "runningTrialList"),
    "Succeeded": ("trialsSucceeded", "succeededTrialList"),
    "Failed": ("trialsFailed", "failedTrialList"),
    "Killed": ("trialsKilled", "killedTrialList"),
    "EarlyStopped": ("trialsEarlyStopped", "earlyStoppedTrialList"),
    "MetricsUnavailable": ("trialMetricsUnavailable", "metricsUnavailableTrialList"),
}
MAX_TRIALS_REACHED = "ExperimentMaxTrialsReached"


@dataclass(frozen=True)
class Verdict:
    """How an Experiment ends."""

    kind: str
    """Succeeded or Failed."""
    reason: str
    message: str


@dataclass(frozen=True)
class Tally:
    """The Trials by what became of them."""

    trials: tuple[Object, ...]
    states: Mapping[str, list[str]]
    best: Object | None
    """The Trial with the best value of the objective."""
    best_value: float | None

    @property
    def active(self) -> int:
        return len(self.states["Pending"]) + len(self.states["Running"])

    @property
    def completed(self) -> int:
        return len(self.trials) - self.active

    @property
    def bad(self) -> list[str]:
        """Names of trials that failed, or whose objective was not measured."""
        return [*self.states["Failed"], *self.states["MetricsUnavailable"]]


Counted = tuple[str, float | None, bool]
"""What became of a trial, its value of the objective, and whether that is words."""


def tally(trials: Iterable[Object], spec: ExperimentSpec, known: dict[str, Counted]) -> Tally:
    """Count the Trials and find the best; of equals the first.

    `known` remembers those that have ended, which are asked about again and again.
    """
    counted = tuple(trials)
    states: dict[str, list[str]] = {state: [] for state in FIELDS}
    best: Object | None = None
    best_value: float | None = None
    for trial in counted:
        name = trial["metadata"]["name"]
        found = known.get(name) or _counted(trial, spec)
        state, value, is_word = found
        if state not in ("Running", "Pending"):
            known[name] = found
        states[state].append(name)
        if is_word:
            best = trial  # words cannot be compared: the latest is taken
        elif value is not None and (
            best_value is None or (value > best_value if spec.objective.maximize else value < best_value)
        ):
            best, best_value = trial, value
    return Tally(counted, states, best, best_value)


def _counted(trial: Object, spec: ExperimentSpec) -> Counted:
    status = trial.get("status") or {}
    state = conditions.outcome(status) or ("Running" if conditions.is_true(status, "Running") else "Pending")
    if state not in ("Succeeded", "EarlyStopped"):
        return state, None, False
    value = objective_value(status.get("observation"), spec.objective)
    return state, value, value is None and is_worded(status.get("observation"), spec.objective)


def remaining_s(experiment: Object, extensions: Extensions) -> float | None:
    """Return how long an Experiment may still run, None when it has no limit."""
    if extensions.max_duration_s is None:
        return None
    started = (experiment.get("status") or {}).get("startTime") or experiment["metadata"].get("creationTimestamp")
    if started is None:
        return extensions.max_duration_s
    return extensions.max_duration_s - (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()


def verdict(counted: Tally, spec: ExperimentSpec, remaining: float | None) -> Verdict | None:
    """Return how the Experiment ends, None while it goes on; `remaining` is in seconds."""
    if counted.best_value is not None and spec.objective.reaches_goal(counted.best_value):
        goal, metric = spec.objective.goal, spec.objective.metric
        return Verdict(
            "Succeeded", "ExperimentGoalReached", f"{metric} has reached the goal {goal:g}: {counted.best_value:g}"
        )
    bad = len(counted.bad)
    if spec.max_failed is not None and bad and bad >= spec.max_failed:
        return Verdict(
            "Failed",
            "ExperimentMaxFailedTrialsReached",
            f"{bad} trials failed and maxFailedTrialCount is {spec.max_failed}. {_last_failure(counted)}",
        )
    if spec.max_trials is not None and counted.completed >= spec.max_trials:
        return _ended(counted, MAX_TRIALS_REACHED, f"All {spec.max_trials} trials have ended")
    if remaining is not None and remaining <= 0:
        return _ended(counted, "ExperimentMaxDurationReached", "The Experiment has run as long as it may")
    return None


def exhausted(counted: Tally) -> Verdict:
    """Return how an Experiment ends whose algorithm has nothing more to try."""
    return _ended(counted, "ExperimentSuggestionEndReached", "Every combination of parameters was tried")


def status_of(experiment: Object, counted: Tally, ended: Verdict | None, front: Sequence[str] = ()) -> Object:
    """Return the Experiment's status; `front` has the trials with the best trade-offs of several objectives."""
    status: Object = {
        name: value
        for name, value in (experiment.get("status") or {}).items()
        if name in ("conditions", "startTime", "completionTime", "currentOptimalTrial")
    }
    status["startTime"] = status.get("startTime") or now()
    if conditions.find(status, "Created") is None:
        status = conditions.marked(status, "Created", "ExperimentCreated", "The Experiment is created")
    if ended is None:
        status = _going_on(status)
    elif conditions.outcome(status) is None:
        if conditions.find(status, "Restarting") is not None:
            status = conditions.marked(status, "Restarting", "ExperimentRunning", "The Experiment goes on", "False")
        status = conditions.ended(status, ended.kind, ended.reason, ended.message)
    if counted.trials:
        status["trials"] = len(counted.trials)
    for state, (count, names) in FIELDS.items():
        if counted.states[state]:
            status[count], status[names] = len(counted.states[state]), counted.states[state]
    if counted.best is not None:
        status["currentOptimalTrial"] = {
            "bestTrialName": counted.best["metadata"]["name"],
            "parameterAssignments": counted.best["spec"]["parameterAssignments"],
            "observation": counted.best["status"]["observation"],
        }
    if front:
        status["paretoFront"] = list(front)
    generation = experiment["metadata"].get("generation")
    if generation is not None:
        status["observedGeneration"] = generation
    return status


def is_worded(observed: Object | None, objective: Objective) -> bool:
    """Say whether the objective was observed as words, such as an architecture."""
    latest = next(
        (each["latest"] for each in (observed or {}).get("metrics") or () if each["name"] == objective.metric), None
    )
    return latest is not None and latest != UNAVAILABLE


def _going_on(status: Object) -> Object:
    if conditions.outcome(status) is not None:  # its budget was raised
        succeeded = conditions.find(status, "Succeeded")
        if succeeded is not None:
            status = conditions.marked(status, "Succeeded", succeeded["reason"], succeeded["message"], "False")
        status.pop("completionTime", None)
        status = conditions.marked(status, "Restarting", "ExperimentRestarting", "More trials were asked for")
    return conditions.marked(status, "Running", "ExperimentRunning", "The Experiment is running")


def _ended(counted: Tally, reason: str, message: str) -> Verdict:
    if counted.trials and counted.best is None:
        return Verdict("Failed", "ExperimentAllTrialsFailed", f"{message} and none succeeded. {_last_failure(counted)}")
    return Verdict("Succeeded", reason, message)


def _last_failure(counted: Tally) -> str:
    """Say what the last bad trial said."""
    bad = set(counted.bad)
    last = next((trial for trial in reversed(counted.trials) if trial["metadata"]["name"] in bad), None)
    if last is None:
        return ""
    kind = conditions.outcome(last["status"]) or "Failed"
    said = conditions.find(last["status"], kind) or {}
    return f"The last one, {last['metadata']['name']}: {said.get('message', '')}"
