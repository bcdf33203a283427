"""Experiments as they are admitted: Katib's defaults written out, and every fault refused before anything is stored.

What Katib's mutating and validating webhooks do on a cluster. A template that is a Job must be one that this host's
API takes, by its fields, their types and the Job's own rules: what is refused here would fail every trial.
"""

from __future__ import annotations

from collections.abc import Iterator

from zeroflow.knative.local.api.builtin_schemas import schema_of
from zeroflow.knative.local.api.errors import Cause, Invalid
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.rest import bodies
from zeroflow.knative.local.api.schemas import validation
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.jobs import admission as jobs
from zeroflow.tuning.defaults import defaulted
from zeroflow.tuning.validation import faults

EXPERIMENT_KIND = "Experiment.kubeflow.org"
TRIAL_SPEC = "spec.trialTemplate.trialSpec"


def register(store: Store) -> None:
    """Have `store` ask here about every write of an Experiment."""

    def admit(new: Object, old: Object | None) -> Object:
        """Return the Experiment with defaults; raise Invalid with the fields that are wrong."""
        if new["metadata"].get("deletionTimestamp"):
            return new
        new = defaulted(new)
        wrong = faults(new, old, lambda namespace, name: store.find("ConfigMap", namespace, name))
        causes = [Cause(field, message) for field, message in wrong]
        if not causes and old is None:
            causes = list(job_faults(store, new["spec"]["trialTemplate"].get("trialSpec")))
        if causes:
            raise Invalid.fields("Experiment", "kubeflow.org", str(new["metadata"].get("name", "")), *causes)
        return new

    store.admit(EXPERIMENT_KIND, admit)


def job_faults(store: Store, template: Object | None) -> Iterator[Cause]:
    """Yield what is wrong with the Job that runs a trial."""
    kind = store.kinds.resolve(jobs.JOB_KIND)
    schema = schema_of(kind)
    if template is None or (template["kind"], template["apiVersion"]) != (kind.kind, kind.api_version()):
        return
    named, found = f"unable to convert to {kind.kind}", False
    for path in bodies.unknown_fields(kind, template):
        yield Cause(f"{TRIAL_SPEC}.{path}", f"Invalid value: {named}: there is no such field")
        found = True
    for each in validation.faults(schema, template) if schema is not None else ():
        yield Cause(f"{TRIAL_SPEC}.{each.field}", f"{each.message} ({named})")
        found = True
    if not found:
        spec = copy(template["spec"])
        jobs.complete(spec)
        yield from jobs.faults(spec, f"{TRIAL_SPEC}.spec")
