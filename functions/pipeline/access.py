"""Who may do what in the KFP API, by namespace.

Somebody alone is the owner, and meets none of this. Whom the host names - or, on a cluster with `MULTIUSER=true`, the
mesh in the header that `KUBEFLOW_USERID_HEADER` names - is asked for at the Kubernetes API (SubjectAccessReview), with
KFP's own resources and verbs, in the namespace of what the request is about. What no rule names is the owner's alone.

Source: KFP's API server in multi-user mode (resources and verbs of pipelines.kubeflow.org; settings MULTIUSER,
KUBEFLOW_USERID_HEADER, KUBEFLOW_USERID_PREFIX).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from flask import request
from sqlalchemy.orm import Session

from zeroflow import callers
from zeroflow.callers import Caller
from zeroflow.errors import Forbidden, NotFound, Unauthenticated
from zeroflow.functions.pipeline import catalog
from zeroflow.functions.pipeline.api import body_of_request
from zeroflow.functions.pipeline.api_runs import submission_of
from zeroflow.functions.pipeline.fields import mapping, text
from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact
from zeroflow.metadata.pipelines import Experiment, Pipeline, RecurringRun, Run
from zeroflow.resources.client import Resources

GROUP, VERSION = "pipelines.kubeflow.org", "v1beta1"
VIEWERS = "kubeflow.org"
"""The API group of `viewers`, about which KFP's UI asks at `/auth`."""
_REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "metadata": {}}
ANYBODY = frozenset({"get_healthz", "get_filter", "authorize"})
"""What tells nothing of any namespace, or checks by itself."""

Where = Callable[[Session], Iterator[str]]
"""Yields the namespaces of what the request is about."""


def _named(session: Session) -> Iterator[str]:
    """Yield those of the objects in the path; what does not exist has none, and is the handler's to report."""
    kinds: Mapping[str, type[Any]] = {
        "run_id": Run,
        "other": Run,
        "experiment_id": Experiment,
        "recurring_run_id": RecurringRun,
        "pipeline_id": Pipeline,
        "artifact_id": Artifact,
    }
    for name, value in (request.view_args or {}).items():
        if name in kinds and (found := session.get(kinds[name], value)) is not None:
            yield found.namespace


def _in_query(_session: Session) -> Iterator[str]:
    yield catalog.namespace_of(request.args.get("namespace"))


def _in_scope(session: Session) -> Iterator[str]:
    """Yield that of what `api.in_scope` narrows a list to."""
    yield from _of_experiment(session, request.args.get("experiment_id", ""), request.args.get("namespace"))


def _in_body(_session: Session) -> Iterator[str]:
    yield catalog.namespace_of(text(body_of_request().get("namespace"), "namespace"))


def _of_submission(session: Session) -> Iterator[str]:
    asked = submission_of(body_of_request())
    yield from _of_experiment(session, asked.experiment_id, asked.namespace)


def _of_definition(session: Session) -> Iterator[str]:
    """Yield the namespace of the pipeline that a run is to be made from, if it is not given whole."""
    asked = submission_of(body_of_request())
    if asked.document is not None or not (asked.pipeline_id or asked.version_id):
        return
    try:
        found = session.get(Pipeline, catalog.version(session, asked.pipeline_id, asked.version_id).pipeline_id)
    except NotFound:
        return
    if found is not None:
        yield found.namespace


def _of_new_pipeline(session: Session) -> Iterator[str]:
    body = body_of_request()
    yield catalog.namespace_of(text(mapping(body.get("pipeline"), "pipeline").get("namespace"), "namespace"))


def _of_pipeline_in_query(session: Session) -> Iterator[str]:
    if (found := session.get(Pipeline, request.args.get("pipelineid", ""))) is not None:
        yield found.namespace


def _of_experiment(session: Session, experiment_id: str, namespace: str | None) -> Iterator[str]:
    found = session.get(Experiment, experiment_id) if experiment_id else None
    if found is not None:
        yield found.namespace
    elif not experiment_id:
        yield catalog.namespace_of(namespace)


@dataclass(frozen=True)
class Rule:
    """What an operation asks for."""

    resource: str
    verb: str
    where: Where = _named


def _rules() -> dict[str, tuple[Rule, ...]]:
    rules = {
        "create_experiment": Rule("experiments", "create", _in_body),
        "create_pipeline": Rule("pipelines", "create", _in_body),
        "create_pipeline_and_version": Rule("pipelines", "create", _of_new_pipeline),
        "upload_pipeline": Rule("pipelines", "create", _in_query),
        "upload_version": Rule("pipelines/versions", "create", _of_pipeline_in_query),
        "get_pipeline_by_name": Rule("pipelines", "get", _in_query),
        "list_experiments": Rule("experiments", "list", _in_query),
        "list_pipelines": Rule("pipelines", "list", _in_query),
        "list_runs": Rule("runs", "list", _in_scope),
        "list_recurring_runs": Rule("jobs", "list", _in_scope),
        "list_artifacts": Rule("runs", "readArtifact", _in_query),
        "list_versions": Rule("pipelines/versions", "list"),
        "fork_run": Rule("runs", "create"),
    }
    for verb in ("get", "delete", "archive", "unarchive"):
        rules[f"{verb}_experiment"] = Rule("experiments", verb)
        rules[f"{verb}_run"] = Rule("runs", verb)
    for verb in ("terminate", "retry"):
        rules[f"{verb}_run"] = Rule("runs", verb)
    for verb in ("get", "delete", "enable", "disable"):
        rules[f"{verb}_recurring_run"] = Rule("jobs", verb)
    for verb in ("get", "delete", "update"):
        rules[f"{verb}_pipeline"] = Rule("pipelines", verb)
        rules[f"{verb}_version"] = Rule("pipelines/versions", verb)
    rules["create_version"] = Rule("pipelines/versions", "create")
    for read in ("list_artifacts_of_run", "get_artifact", "get_lineage", "get_content"):
        rules[read] = Rule("runs", "readArtifact")
    for read in ("metrics", "events", "tasks"):
        rules[f"list_{read}"] = Rule("runs", "get")
    for read in ("cost", "reuse", "reuse_of_task", "differences", "task", "log"):
        rules[f"get_{read}"] = Rule("runs", "get")
    definition = Rule("pipelines", "get", _of_definition)
    return {name: (rule,) for name, rule in rules.items()} | {
        "create_run": (Rule("runs", "create", _of_submission), definition),
        "create_recurring_run": (Rule("jobs", "create", _of_submission), definition),
    }


RULES: Mapping[str, tuple[Rule, ...]] = _rules()


class Access:
    """Asks the Kubernetes API about whoever is not the owner."""

    def __init__(
        self, database: Database, resources: Callable[[], Resources], token: str | None, environment: Mapping[str, str]
    ) -> None:
        self._database, self._resources, self._token = database, resources, token
        self._multi_user = environment.get("MULTIUSER") == "true"
        self._header = environment.get("KUBEFLOW_USERID_HEADER") or "kubeflow-userid"
        self._prefix = environment.get("KUBEFLOW_USERID_PREFIX", "")

    def caller(self) -> Caller | None:
        """Return who asks, None for the owner; raise Unauthenticated when nobody says who."""
        caller = callers.proven(self._token, request.headers.get)
        if caller is None and self._multi_user:
            name = request.headers.get(self._header, "").removeprefix(self._prefix)
            if not name:
                raise Unauthenticated(f"nobody says who asks: the header {self._header} is missing")
            caller = Caller(name)
        return caller

    def check(self) -> None:
        """Raise Forbidden unless whoever asks may do what the current request wants."""
        operation = (request.endpoint or "").rpartition(".")[2]
        if operation in ANYBODY or (caller := self.caller()) is None:
            return
        rules = RULES.get(operation)
        if rules is None:
            raise Forbidden(f"User {caller.name!r} is not authorized: {operation} is the owner's alone")
        with self._database.reading() as session:
            asked = [(rule.resource, rule.verb, namespace) for rule in rules for namespace in rule.where(session)]
        for resource, verb, namespace in dict.fromkeys(asked):
            self.require(caller, GROUP, resource, verb, namespace)

    def require(self, caller: Caller, group: str, resource: str, verb: str, namespace: str) -> None:
        """Raise Forbidden unless the caller may do something in a namespace."""
        kind, _, part = resource.partition("/")
        wanted = {"namespace": namespace, "verb": verb, "group": group, "version": VERSION, "resource": kind}
        spec = {
            "user": caller.name,
            "groups": list(caller.groups),
            "resourceAttributes": {**wanted, **({"subresource": part} if part else {})},
        }
        if not self._resources().create({**_REVIEW, "spec": spec})["status"]["allowed"]:
            raise Forbidden(
                f"User {caller.name!r} is not authorized with reason: no role lets them {verb} {resource}.{group} in"
                f" namespace {namespace}; a RoleBinding there to the ClusterRole edit or view would"
            )
