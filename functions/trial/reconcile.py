"""Brings Trials and what runs them in line with what an Experiment declares.

Level-triggered: an event says which Experiment to look at. A Trial is created before its Job, and each has a name that
follows from the Experiment's uid and the trial's number: whatever is killed in between, the next reconciliation makes
what is missing and nothing twice, and of two at once one fails with Conflict and starts over. The Suggestion's status
tells of the assignments; those that it does not tell of yet are in their Trials.

The next trial is started before the end of the last is written down, so that writing costs no time in which nothing
runs. In a hurry of short trials the status of the Experiment, which has the names of all, and of the Suggestion are
written once a second. A trial that has ended is read from its record; only the few that have not are read from the
API, one by one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock, Timer

from zeroflow.errors import Conflict, NotFound, ZeroflowError
from zeroflow.functions.trial import conditions, kinds, manifests, progress, suggesting
from zeroflow.functions.trial.algorithms import nsga2
from zeroflow.functions.trial.assigning import Assigner
from zeroflow.functions.trial.progress import MAX_TRIALS_REACHED, Verdict
from zeroflow.functions.trial.reading import Reader
from zeroflow.functions.trial.trials import Trials
from zeroflow.functions.trial.view import View
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import is_controlled_by
from zeroflow.resources.starting_over import starting_over
from zeroflow.tuning.spec import API_VERSION, TRIAL, Object

logger = logging.getLogger(__name__)

TELL_EVERY_S = 1.0
WRITERS = 4
"""So many writes that do not wait for each other are on their way at once; they share the server's next flush."""
LOCKS = 64
"""One is shared by few Experiments: a suggestion that takes long holds up no other."""
MOST_VIEWS = 64
"""So many Experiments are remembered as they were written last."""


class Reconciler:
    """Reconciles Experiments.

    What was read and written last is kept, so that the end of a Job - of which the event has everything - costs no
    reading. It is a copy and never the truth: every other event has everything read anew, and so does a write that
    fails because somebody else wrote in between, or because the object is gone.
    """

    def __init__(self, resources: Callable[[], Resources], trials: Trials) -> None:
        self.resources, self.trials = resources, trials
        self._reader = Reader(resources, trials.records)
        self._assigner = Assigner(resources, trials.records)
        self._views: dict[tuple[str, str], View] = {}
        self._beside = ThreadPoolExecutor(WRITERS, "trials")
        self._locks = [Lock() for _ in range(LOCKS)]
        self._keeping = Lock()
        self._telling: dict[tuple[str, str], Timer] = {}

    def reconcile(self, namespace: str, name: str, job: Object | None = None) -> Object | None:
        """Reconcile one Experiment and return it as it is then; None when it is gone. Raises Conflict.

        `job` is the Job of a trial when all that is known to have happened is that it ended.
        """
        with self._lock(namespace, name):
            view = self._views.pop((namespace, name), None)
            if view is not None and job is not None:
                try:
                    return self._once(namespace, name, view, job)
                except (Conflict, NotFound):
                    logger.debug("experiment=%s: read anew", name)
            return starting_over(lambda: self._once(namespace, name, None, None))

    def _once(self, namespace: str, name: str, view: View | None, job: Object | None) -> Object | None:
        number = view.number_of(job) if view is not None and job is not None else None
        if view is None or job is None or number is None:
            read = self._reader.read(namespace, name)
            if not isinstance(read, View):
                return read
            view = read
            self._advance(view)
        else:
            view.take(self.trials.advance(view.trials[job["metadata"]["name"]], number, running=job))
        # rules of early stopping are made from what is recorded, the last trial's measurements included
        finished = self._settle(view) if view.spec.early_stopping is not None else []
        ended = self._verdict(view)
        if ended is None:
            ended = self._suggest(view)
        is_ending = ended is not None and not view.is_over
        if is_ending:
            self._stop(view)
        finished += self._settle(view)
        if is_ending:
            kinds.clean(self.resources(), view.experiment)
        cleaned = self._beside.map(self.trials.clean, finished)
        if is_ending or time.monotonic() - view.told_at_s >= TELL_EVERY_S:
            self._tell(view, ended)
        else:
            self._tell_later(namespace, name)
        list(cleaned)
        if not view.is_over:
            self._keep(namespace, name, view)
        return view.found

    def _tell(self, view: View, ended: Verdict | None) -> None:
        """Write what has become of the Experiment, and its assignments."""
        self._assigner.tell(view)
        status = progress.status_of(view.experiment, view.tally(), ended, self._front(view))
        if status != view.found.get("status"):
            view.wrote(self.resources().write_status({**view.found, "status": status}))
        view.told_at_s = time.monotonic()

    def _tell_later(self, namespace: str, name: str) -> None:
        """Have the status written soon: in a hurry of short trials, those of a second together.

        What is lost when this process is killed meanwhile is written when the next trial ends.
        """
        if (namespace, name) not in self._telling:
            timer = self._telling[namespace, name] = Timer(TELL_EVERY_S, self._told, (namespace, name))
            timer.daemon = True
            timer.start()

    def _told(self, namespace: str, name: str) -> None:
        with self._lock(namespace, name):
            del self._telling[namespace, name]
            view = self._views.get((namespace, name))
            if view is None:
                return
            try:
                self._tell(view, None)
            except ZeroflowError as error:  # the next event has it read anew
                logger.debug("experiment=%s: not told: %s", name, error)
                self._views.pop((namespace, name), None)

    def _keep(self, namespace: str, name: str, view: View) -> None:
        with self._keeping:
            if len(self._views) >= MOST_VIEWS:
                self._views.pop(next(iter(self._views)))
            self._views[namespace, name] = view

    def _lock(self, namespace: str, name: str) -> Lock:
        """Return what keeps an Experiment's reconciliation and the telling of it apart."""
        return self._locks[hash((namespace, name)) % LOCKS]

    def _advance(self, view: View) -> None:
        """Take every Trial that has not ended as far as it goes, and create those that are missing."""
        for number, assignment in enumerate(view.given):
            if assignment["name"] not in view.ended:
                self._look(view, number, self._find(view, assignment["name"]))
            else:
                view.trials[assignment["name"]] = view.ended[assignment["name"]].as_trial()
        while (trial := self._find(view, manifests.trial_name(view.experiment, len(view.given)))) is not None:
            view.given.append(manifests.assignment_of(trial))  # the Suggestion does not tell of it yet
            if trial["metadata"]["name"] in view.ended:
                view.trials[trial["metadata"]["name"]] = manifests.remembered(trial)
            else:
                self._look(view, len(view.given) - 1, trial)

    def _look(self, view: View, number: int, trial: Object | None) -> None:
        """Do what is next for a Trial that has not ended, or is not there."""
        if trial is not None and (
            trial["metadata"].get("deletionTimestamp") or not is_controlled_by(trial, view.experiment)
        ):
            return
        if not view.is_over:
            self._begin(view, view.given[number], number, trial)
        elif trial is not None:
            self._end(view, trial, number)

    def _find(self, view: View, name: str) -> Object | None:
        return self.resources().find(API_VERSION, TRIAL, view.namespace, name)

    def _begin(self, view: View, assignment: Object, number: int, trial: Object | None = None) -> None:
        """Create a Trial that is missing, and do what is next for it."""
        is_new = trial is None
        if trial is None:
            made = manifests.trial(view.experiment, assignment, progress.remaining_s(view.experiment, view.extensions))
            trial = self.resources().create(made)
        view.take(self.trials.advance(trial, number, is_new=is_new))

    def _stop(self, view: View) -> None:
        """End the trials that go on."""
        for number, assignment in enumerate(view.given):
            trial = view.trials.get(assignment["name"])
            if trial is not None:
                self._end(view, trial, number)

    def _end(self, view: View, trial: Object, number: int) -> None:
        if conditions.outcome(trial.get("status") or {}) is None:
            view.due = [each for each in view.due if each.number != number]
            view.take(self.trials.killed(trial, number))

    def _settle(self, view: View) -> list[Object]:
        """Write what has become of Trials; return those that have ended, which are to be cleaned up."""
        finished = []
        for due, trial in zip(view.due, self._beside.map(self.trials.settle, view.due), strict=True):
            if due.has_ended:
                finished.append(trial)
            view.trials[trial["metadata"]["name"]] = manifests.remembered(trial) if due.has_ended else trial
        view.due = []
        return finished

    def _verdict(self, view: View) -> Verdict | None:
        """Return how it ended, or ends now; a finished Experiment goes on only when it may and more trials are due."""
        status, counted = view.experiment.get("status") or {}, view.tally()
        before = conditions.outcome(status)
        if before is None:
            return progress.verdict(counted, view.spec, progress.remaining_s(view.experiment, view.extensions))
        condition = conditions.find(status, before) or {}
        may_resume = condition.get("reason") == MAX_TRIALS_REACHED and view.spec.resume_policy != "Never"
        if may_resume and (view.spec.max_trials is None or view.spec.max_trials > counted.completed):
            return None
        return Verdict(before, condition.get("reason", ""), condition.get("message", ""))

    def _suggest(self, view: View) -> Verdict | None:
        """Record and start as many further trials as may run now; say how it ends when there are no more.

        A trial that ends as soon as it is started, because what it asks for is refused, makes room for the next.
        """
        while True:
            counted = view.tally()
            if (ended := progress.verdict(counted, view.spec, None)) is not None:
                return ended
            count = view.spec.parallel - counted.active
            if view.spec.max_trials is not None:
                count = min(count, view.spec.max_trials - len(view.given))
            if count <= 0:
                return None
            if view.suggestion is None:
                self._assigner.prepare(view)
                made_for = manifests.suggestion(view.experiment, view.spec.max_trials or count)
                view.suggestion = self.resources().create(made_for)
            try:
                made = self._assigner.next(view, count)
            except suggesting.SuggestionFailed as error:
                logger.warning("experiment=%s: %s", view.name, error)
                return Verdict("Failed", "ExperimentSuggestionFailed", str(error))
            if not made.assignments:
                return progress.exhausted(counted) if made.exhausted and not counted.active else None
            for assignment in made.assignments:
                view.given.append(assignment)
                self._begin(view, assignment, len(view.given) - 1)

    def _front(self, view: View) -> list[str]:
        """Return the names of the trials with the best trade-offs, of a search with several objectives."""
        if view.spec.algorithm != "nsga2":
            return []
        search = suggesting.begun(view.experiment, view.spec, view.given, view.trials, view.extensions)
        return [each.name for each in nsga2.front(search, search.history)]
