"""What is remembered of trials in the metadata database: that they were tried, how they ended, what they measured.

A record is written under the Trial's uid, so writing it again changes nothing. A trial that has ended is read from
here and not from its resource: what a reconciliation reads grows by a row a trial, and a Trial that somebody deletes
still counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.orm import Session

from zeroflow.functions.trial import conditions
from zeroflow.functions.trial.observing import Output, Value
from zeroflow.metadata import Database, now_ms
from zeroflow.metadata.registry import LineageEdge
from zeroflow.metadata.tuning import TrialMetric, TrialRecord
from zeroflow.tuning.spec import EXPERIMENT_LABEL, Object

KEPT_VALUES = 10_000
"""How many values of a metric are kept as a series; the observation counts all."""
ACTOR = "/zeroflow/functions/trial"
MODEL = "zeroflow.dev/model-uri"
"""Annotation of the object that runs a trial: where the model lies that the trial writes."""


_TRIALS, _METRICS = TrialRecord.__table__, TrialMetric.__table__
_FIND = select(TrialRecord.uid).where(TrialRecord.uid == bindparam("of"))
_BEGIN = insert(_TRIALS)  # type: ignore[arg-type]  # a class is declared on a Table
_TRIED = insert(LineageEdge.__table__)  # type: ignore[arg-type]
_END = update(_TRIALS).where(TrialRecord.uid == bindparam("of"))  # type: ignore[arg-type]
_FORGET = delete(_METRICS).where(TrialMetric.trial_uid == bindparam("of"))  # type: ignore[arg-type]
_MEASURED = insert(_METRICS)  # type: ignore[arg-type]
"""Built once: to build them, or to have a session track the rows, costs more than to execute them."""


@dataclass(frozen=True)
class Ended:
    """A trial that has ended."""

    uid: str
    name: str
    number: int
    parameters: Mapping[str, str]
    state: str
    reason: str
    message: str
    observation: Object
    model: str | None = None
    started_ms: int = 0
    ended_ms: int = 0

    def as_trial(self) -> Object:
        """Return what of a Trial can be told from its record."""
        condition = {"type": self.state, "status": "True", "reason": self.reason, "message": self.message}
        return {
            "metadata": {"name": self.name, "uid": self.uid},
            "spec": {"parameterAssignments": [{"name": k, "value": v} for k, v in self.parameters.items()]},
            "status": {"conditions": [condition], **({"observation": self.observation} if self.observation else {})},
        }


@dataclass(frozen=True)
class Records:
    """Reads and writes the records of trials."""

    database: Database

    def ended(self, experiment_uid: str) -> dict[str, Ended]:
        """Return the trials of an Experiment that have ended, by name, in their order."""
        with self.database.reading() as session:
            return {each.name: each for each in _ended(session, TrialRecord.experiment_uid == experiment_uid)}

    def of_experiment(self, namespace: str, name: str) -> list[Ended]:
        """Return the trials that ended of the newest Experiment of a name, whether or not it is still there."""
        with self.database.reading() as session:
            newest = session.scalar(
                select(TrialRecord.experiment_uid)
                .where(TrialRecord.namespace == namespace, TrialRecord.experiment == name)
                .order_by(TrialRecord.started_ms.desc())
                .limit(1)
            )
            return list(_ended(session, TrialRecord.experiment_uid == newest)) if newest else []

    def find(self, namespace: str, name: str) -> Ended | None:
        """Return a trial that has ended."""
        with self.database.reading() as session:
            here = (TrialRecord.namespace == namespace) & (TrialRecord.name == name)
            return next(iter(_ended(session, here)), None)

    def started(self, trial: Object, number: int) -> None:
        """Note that a trial is there."""
        with self.database.transaction() as session:
            connection = session.connection()
            if connection.execute(_FIND, {"of": trial["metadata"]["uid"]}).first() is None:
                _begin(connection, trial, number)

    def finished(self, trial: Object, number: int, status: Object, output: Output | None) -> None:
        """Note how a trial has ended, and the series that it has printed; also of one that nobody noted before."""
        outcome = conditions.outcome(status)
        assert outcome is not None
        condition = conditions.find(status, outcome) or {}
        ending = {
            "of": trial["metadata"]["uid"],
            "state": outcome,
            "reason": condition.get("reason", ""),
            "message": condition.get("message", ""),
            "observation": status.get("observation") or {},
            "ended_ms": now_ms(),
        }
        with self.database.transaction() as session:
            connection = session.connection()
            if not connection.execute(_END, ending).rowcount:
                _begin(connection, trial, number)
                connection.execute(_END, ending)
            if output is not None:
                _replace(connection, trial, output)

    def series(self, uid: str) -> dict[str, list[Value]]:
        """Return every value that is recorded of a trial, by metric, in their order."""
        found: dict[str, list[Value]] = {}
        with self.database.reading() as session:
            rows = session.execute(
                select(TrialMetric.metric, TrialMetric.value, TrialMetric.reported_at)
                .where(TrialMetric.trial_uid == uid)
                .order_by(TrialMetric.metric, TrialMetric.step)
            )
            for metric, value, reported_at in rows:
                found.setdefault(metric, []).append(Value(value, reported_at))
        return found

    def histories(self, uids: Sequence[str], metric: str, most: int) -> dict[str, list[float]]:
        """Return the first `most` finite values of a metric of each of these trials."""
        found: dict[str, list[float]] = {}
        with self.database.reading() as session:
            for at in range(0, len(uids), 400):
                rows = session.execute(
                    select(TrialMetric.trial_uid, TrialMetric.value)
                    .where(
                        TrialMetric.trial_uid.in_(uids[at : at + 400]),
                        TrialMetric.metric == metric,
                        TrialMetric.step < most,
                    )
                    .order_by(TrialMetric.trial_uid, TrialMetric.step)
                )
                for uid, text in rows:
                    if (value := Value(text).number) is not None:
                        found.setdefault(uid, []).append(value)
        return found


def _ended(session: Session, which: Any) -> Iterable[Ended]:
    rows = session.execute(
        select(
            TrialRecord.uid,
            TrialRecord.name,
            TrialRecord.number,
            TrialRecord.parameters,
            TrialRecord.state,
            TrialRecord.reason,
            TrialRecord.message,
            TrialRecord.observation,
            TrialRecord.artifacts,
            TrialRecord.started_ms,
            TrialRecord.ended_ms,
        )
        .where(which, TrialRecord.ended_ms.is_not(None))
        .order_by(TrialRecord.number)
    )
    for uid, name, number, parameters, state, reason, message, observed, artifacts, started, ended in rows:
        model = artifacts.get("model")
        yield Ended(uid, name, number, parameters, state, reason, message, observed, model, started, ended)


def _begin(connection: Connection, trial: Object, number: int) -> None:
    """Record a trial that has begun, and put it into the lineage graph."""
    metadata, spec = trial["metadata"], trial["spec"]
    namespace, name, experiment = metadata["namespace"], metadata["name"], metadata["labels"][EXPERIMENT_LABEL]
    connection.execute(
        _BEGIN,
        {
            "uid": metadata["uid"],
            "namespace": namespace,
            "name": name,
            "experiment": experiment,
            "experiment_uid": metadata["ownerReferences"][0]["uid"],
            "number": number,
            "parameters": {each["name"]: each["value"] for each in spec["parameterAssignments"]},
            "state": "Running",
            "artifacts": _artifacts(spec),
        },
    )
    connection.execute(
        _TRIED,
        {
            "kind": "tried",
            "from_type": "experiment",
            "from_id": f"{namespace}/{experiment}",
            "to_type": "trial",
            "to_id": f"{namespace}/{name}",
            "actor": ACTOR,
        },
    )


def _artifacts(spec: Object) -> dict[str, Any]:
    uri = ((spec["runSpec"].get("metadata") or {}).get("annotations") or {}).get(MODEL)
    return {"model": str(uri)} if uri else {}


def _replace(connection: Connection, trial: Object, output: Output) -> None:
    metadata = trial["metadata"]
    connection.execute(_FORGET, {"of": metadata["uid"]})
    rows = [
        {
            "trial_uid": metadata["uid"],
            "metric": metric,
            "step": step,
            "namespace": metadata["namespace"],
            "experiment": metadata["labels"][EXPERIMENT_LABEL],
            "trial": metadata["name"],
            "value": value.text,
            "reported_at": value.reported_at,
        }
        for metric, values in output.series.items()
        for step, value in enumerate(values[:KEPT_VALUES])
    ]
    if rows:
        connection.execute(_MEASURED, rows)
