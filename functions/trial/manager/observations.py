"""What trials report, in the metadata database.

A trial is named without its namespace, as the protocol has it; names of trials are unique because they follow from
their Experiment's uid. Values are appended to what the trial has reported before, in the order in which they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.functions.trial.manager.messages import MetricLog
from zeroflow.functions.trial.records import KEPT_VALUES
from zeroflow.metadata import Database
from zeroflow.metadata.tuning import TrialMetric, TrialRecord

NO_TIME = "0001-01-01T00:00:00Z"
"""What Katib gives a value that came without a time."""
MOST_AT_ONCE = 10_000


@dataclass(frozen=True)
class Observations:
    """Reads and writes the observation logs of trials."""

    database: Database

    def report(self, trial: str, logs: Sequence[MetricLog]) -> None:
        """Append values; raise NotFound for a trial that never was, Conflict for one that has ended."""
        if len(logs) > MOST_AT_ONCE or any(not each.name for each in logs):
            raise InvalidInput(f"a report has at most {MOST_AT_ONCE} values, each with the name of a metric")
        with self.database.transaction() as session:
            record = _record(session, trial)
            if record.ended_ms is not None:
                raise Conflict(f"the trial {trial!r} has ended ({record.state}); nothing more can be reported for it")
            steps = {
                metric: int(step)
                for metric, step in session.execute(
                    select(TrialMetric.metric, func.max(TrialMetric.step))
                    .where(TrialMetric.trial_uid == record.uid)
                    .group_by(TrialMetric.metric)
                )
            }
            for each in logs:
                step = steps[each.name] = steps.get(each.name, -1) + 1
                if step >= KEPT_VALUES:
                    raise InvalidInput(f"{each.name}: a trial reports at most {KEPT_VALUES} values of a metric")
                session.add(
                    TrialMetric(
                        trial_uid=record.uid,
                        metric=each.name,
                        step=step,
                        namespace=record.namespace,
                        experiment=record.experiment,
                        trial=record.name,
                        value=each.value,
                        reported_at=each.time_stamp or None,
                    )
                )

    def log(self, trial: str, metric: str = "", start: str = "", end: str = "") -> list[MetricLog]:
        """Return what a trial has reported or printed, by time; of one metric and between two times if asked."""
        with self.database.reading() as session:
            record = _record(session, trial)
            wanted = select(TrialMetric.reported_at, TrialMetric.metric, TrialMetric.value).where(
                TrialMetric.trial_uid == record.uid
            )
            if metric:
                wanted = wanted.where(TrialMetric.metric == metric)
            rows = session.execute(wanted.order_by(TrialMetric.step, TrialMetric.metric)).all()
        found = [MetricLog(time or NO_TIME, name, value) for time, name, value in rows]
        found.sort(key=lambda each: each.time_stamp)
        return [
            each for each in found if (not start or each.time_stamp >= start) and (not end or each.time_stamp <= end)
        ]

    def forget(self, trial: str) -> None:
        """Delete what a trial has reported."""
        with self.database.transaction() as session:
            session.execute(delete(TrialMetric).where(TrialMetric.trial_uid == _record(session, trial).uid))


def _record(session: Session, trial: str) -> TrialRecord:
    newest = select(TrialRecord).where(TrialRecord.name == trial).order_by(TrialRecord.started_ms.desc()).limit(1)
    found = session.scalar(newest)
    if found is None:
        raise NotFound(f"there is no trial {trial!r}")
    return found
