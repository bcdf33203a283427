"""One Experiment as it is while it is looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from zeroflow.functions.trial import conditions, progress
from zeroflow.functions.trial.algorithms.history import Tried
from zeroflow.functions.trial.progress import Counted, Tally
from zeroflow.functions.trial.records import Ended
from zeroflow.functions.trial.trials import Due
from zeroflow.resources.owners import is_controlled_by
from zeroflow.tuning.extensions import Extensions
from zeroflow.tuning.spec import ExperimentSpec, Object


@dataclass
class View:
    """One Experiment as it is when it is looked at."""

    found: Object
    """As the API has it."""
    experiment: Object
    """With defaults and its template."""
    spec: ExperimentSpec
    extensions: Extensions
    suggestion: Object | None
    given: list[Object]
    """Its suggestions, in order."""
    ended: dict[str, Ended]
    trials: dict[str, Object] = field(default_factory=dict)
    """Its Trials by name; of those that have ended before, what their records tell."""
    due: list[Due] = field(default_factory=list)
    """What is to be written of Trials."""
    service: str | None = None
    """Who suggests, as host:port, when it is none of this function's algorithms."""
    told: int = 0
    """How many assignments the Suggestion's status tells of."""
    told_at_s: float = -math.inf
    """When its status, and that of the Suggestion, were written last."""
    counted: dict[str, Counted] = field(default_factory=dict)
    tried: dict[str, Tried] = field(default_factory=dict)
    """Of trials that have ended: what is counted of them, and what the search learns."""

    _tally: Tally | None = field(default=None, init=False)

    def take(self, due: Due) -> None:
        """Have a Trial as it is to be."""
        self.trials[due.trial["metadata"]["name"]] = due.trial
        self.due.append(due)
        self._tally = None

    def tally(self) -> Tally:
        """Count the trials; once, until another one is taken."""
        if self._tally is None:
            found = (self.trials[each["name"]] for each in self.given if each["name"] in self.trials)
            self._tally = progress.tally(found, self.spec, self.counted)
        return self._tally

    @property
    def is_over(self) -> bool:
        """Whether its status says that it has ended."""
        return conditions.outcome(self.experiment.get("status") or {}) is not None

    @property
    def namespace(self) -> str:
        return str(self.experiment["metadata"]["namespace"])

    @property
    def name(self) -> str:
        return str(self.experiment["metadata"]["name"])

    def number_of(self, job: Object) -> int | None:
        """Return the number of the trial that goes on, as far as is known, and that this Job runs."""
        name = job["metadata"]["name"]
        trial = self.trials.get(name)
        if trial is None or conditions.outcome(trial.get("status") or {}) or not is_controlled_by(job, trial):
            return None
        return next((number for number, each in enumerate(self.given) if each["name"] == name), None)

    def wrote(self, written: Object) -> None:
        """Take the Experiment as it was written."""
        self.found = written
        self.experiment = {**self.experiment, "metadata": written["metadata"], "status": written.get("status") or {}}
