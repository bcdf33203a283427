"""The object that runs a trial: a Job, or a resource of any other kind whose conditions say how it goes.

It has the Trial's name, so there is one. Source: Katib v1beta1 trial template (successCondition, failureCondition).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zeroflow.errors import NotFound
from zeroflow.resources.client import Resources
from zeroflow.resources.conditions import is_true
from zeroflow.tuning.defaults import CONDITIONS, condition_path
from zeroflow.tuning.gjson import is_met
from zeroflow.tuning.spec import Object

JOB_API_VERSION, JOB = "batch/v1", "Job"


@dataclass(frozen=True)
class State:
    """How far a trial's object has come."""

    kind: str
    """Running, Succeeded or Failed."""
    reason: str = ""
    message: str = ""


class KindMissing(NotFound):
    """The cluster does not serve the kind of object that runs the trials."""


@dataclass(frozen=True)
class Workloads:
    """Reads and writes the objects that run trials."""

    resources: Callable[[], Resources]

    def find(self, trial: Object) -> Object | None:
        """Return the object of a Trial, None when there is none or it is being deleted."""
        run = trial["spec"]["runSpec"]
        try:
            found = self.resources().find(
                run["apiVersion"], run["kind"], trial["metadata"]["namespace"], trial["metadata"]["name"]
            )
        except NotFound:  # the kind is not served (any more)
            return None
        return None if found is None or found["metadata"].get("deletionTimestamp") else found

    def create(self, run: Object) -> None:
        """Create the object; raise KindMissing when the cluster does not know its kind."""
        try:
            self.resources().create(run)
        except NotFound as error:
            if "serves no kind" not in str(error) and "/apis/" not in str(error):
                raise
            raise KindMissing(
                f"this cluster has no {run['kind']} ({run['apiVersion']}), which the trialTemplate asks for: install "
                "its CustomResourceDefinition and a controller that runs it, or use a Job"
            ) from error

    def delete(self, trial: Object) -> None:
        """Delete the object of a Trial and what it owns."""
        run = trial["spec"]["runSpec"]
        try:
            self.resources().delete(
                run["apiVersion"], run["kind"], trial["metadata"]["namespace"], trial["metadata"]["name"]
            )
        except NotFound:
            return


CONDITIONS_UNMET = "ConditionsUnmet"


def state(trial: Object, workload: Object) -> State:
    """Return how the object of a Trial stands; failure is looked for first, as in Katib.

    A Job that is over, of which neither condition says so, has failed: nothing will come of waiting for it.
    """
    spec = trial["spec"]
    defaults = CONDITIONS.get(str(workload.get("kind")), ("Succeeded", "Failed"))
    for kind, field, default in (
        ("Failed", "failureCondition", defaults[1]),
        ("Succeeded", "successCondition", defaults[0]),
    ):
        met = is_met(workload, spec.get(field) or condition_path(default))
        if met is not None:
            return State(kind, str(met.get("reason") or ""), str(met.get("message") or ""))
    over = next((each for each in defaults if is_true(workload, each)), None) if is_job(workload) else None
    if over is not None:
        said = (
            f"the Job is {over}, and neither successCondition {spec.get('successCondition')!r} nor failureCondition "
            f"{spec.get('failureCondition')!r} finds an object, or a list that is not empty, in it"
        )
        return State("Failed", CONDITIONS_UNMET, said)
    return State("Running")


def is_job(workload: Object) -> bool:
    """Say whether an object is a Kubernetes Job."""
    return workload.get("kind") == JOB and workload.get("apiVersion") == JOB_API_VERSION
