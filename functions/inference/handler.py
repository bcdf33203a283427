"""The inference function's edge: which events wake it, and for which InferenceService.

* `dev.knative.apiserver.resource.{add,update,delete}` of an InferenceService, of a Knative Service made for one, or
  of its DomainMapping: reconcile that InferenceService and the InferenceGraphs that name it. Likewise of an
  InferenceGraph and its Knative Service.
* The same of a RolloutPolicy: the InferenceServices that name it; of a TrainedModel: all of its InferenceService's.
* `dev.zeroflow.model.loaded` and `.failed`: what predictors of many models say becomes the status of TrainedModels.
  `dev.zeroflow.host.started`, while one of them owes a word: it is asked again.
* `dev.zeroflow.modelversion.registered`: the InferenceServices that follow the registered model get the new version.
* `dev.zeroflow.predictions.observed` and `.recorded` (while a canary is being decided) and
  `dev.zeroflow.feedback.given`: evidence.
* `com.amazonaws.s3.ObjectCreated:*`, while an InferenceService or TrainedModel lacks its bytes: it is looked at again.
* `dev.zeroflow.rollout.decided`: bring the traffic in line with the decision.

`GET /api/inference/v1/rollouts/<namespace>/<name>` tells why a rollout is as it is.

Served by `gunicorn zeroflow.functions.inference.handler:create_app()`.
"""

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from flask import Flask

from zeroflow.errors import InvalidInput, NotFound
from zeroflow.events import Delivery, FunctionApp
from zeroflow.functions.inference import awaiting, names
from zeroflow.functions.inference.canary import labels, named, rollouts, telling
from zeroflow.functions.inference.canary.following import Canaries
from zeroflow.functions.inference.containers import Platform, telemetry_of
from zeroflow.functions.inference.graphs import KIND as GRAPH_KIND
from zeroflow.functions.inference.graphs import LABEL as GRAPH_LABEL
from zeroflow.functions.inference.graphs import Graphs
from zeroflow.functions.inference.reconcile import Reconciler
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.refusals import Refusals
from zeroflow.functions.inference.subscriptions import Subscriptions
from zeroflow.functions.inference.trained import status
from zeroflow.functions.inference.trained.declared import parent, parents
from zeroflow.functions.inference.trained.reconcile import TrainedModels
from zeroflow.functions.inference.versions import (
    RegisteredVersion,
    follows,
    rolled_out,
    trained_waits_for,
    waits_for,
)
from zeroflow.functions.inference.waking import Waking
from zeroflow.images import Images
from zeroflow.inference import trained
from zeroflow.predictions.feedback import FEEDBACK, Feedback
from zeroflow.predictions.observation import OBSERVED, Observation, check_source
from zeroflow.predictions.outcome import FAILED, LOADED, Outcome
from zeroflow.predictions.recorded import RECORDED, Recorded
from zeroflow.resources.client import LazyResources, Resources
from zeroflow.resources.starting_over import starting_over
from zeroflow.settings import Settings

logger = logging.getLogger(__name__)

FUNCTION = "inference"
CHANGES = tuple(f"dev.knative.apiserver.resource.{verb}" for verb in ("add", "update", "delete"))
STORAGE_VARIABLES = (
    "AWS_DEFAULT_REGION",
    "STORAGE_EMULATOR_HOST",
    "HF_HOME",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "ZEROFLOW_HF_MIRROR",
    "ZEROFLOW_OCI_MIRROR",
    "ZEROFLOW_MODEL_CACHE",
    "ZEROFLOW_ALLOW_PRIVATE_HOSTS",
)
VERSION_REGISTERED = "dev.zeroflow.modelversion.registered"
VERSION_APPROVED = "dev.zeroflow.modelversion.approved"
HOST_STARTED = "dev.zeroflow.host.started"
STARTED: list[dict[str, Any]] = [{"exact": {"type": HOST_STARTED}}]


def create_app(settings: Settings | None = None, resources: Callable[[], Resources] | None = None) -> Flask:
    """Return the WSGI application; `resources` gives the client of the Kubernetes API when it is first needed."""
    settings = settings or Settings.from_environment()
    app = FunctionApp.from_settings(FUNCTION, settings)
    resources = resources or LazyResources(f"zeroflow-{FUNCTION}")
    refusals = Refusals(app.outbox)
    subscriptions = Subscriptions(resources, settings.namespace)
    platform = _platform(settings, os.environ)
    reconciler = Reconciler(
        resources,
        app.database,
        platform,
        Canaries(app.outbox, subscriptions),
        partial(awaiting.await_model, subscriptions),
        refusals.note,
    )

    trained_models = TrainedModels(
        resources,
        app.database,
        platform,
        Waking(platform).wake,
        lambda namespace, isvc, expects: subscriptions.keep("loading", namespace, isvc, STARTED if expects else None),
        refusals.note_trained,
        partial(awaiting.await_trained, subscriptions),
    )
    graphs = Graphs(resources)

    def on_change(delivery: Delivery) -> None:
        kind, namespace, name = _concerned(delivery.data())
        if kind == names.KIND:
            reconciler.reconcile(namespace, name)
            trained_models.follow(namespace, name)
            for graph in graphs.concerned(namespace, name):
                graphs.reconcile(namespace, graph)
        elif kind == GRAPH_KIND:
            graphs.reconcile(namespace, name)
        elif kind == named.KIND:
            for isvc in named.concerned(resources(), namespace, name):
                reconciler.reconcile(namespace, isvc)
        elif kind == trained.KIND:
            for isvc in sorted(parents(delivery.data())):
                trained_models.reconcile(namespace, isvc)

    def on_version(delivery: Delivery) -> None:
        if delivery.data().get("needs_approval"):
            return  # the event that it was approved brings it here again
        version = RegisteredVersion.of_event(delivery.data())
        for isvc in resources().list(names.API_VERSION, names.KIND):
            if follows(isvc, version.registered_model):
                _roll_out(resources(), isvc, version)
            elif waits_for(isvc, version):
                reconciler.reconcile(isvc["metadata"]["namespace"], isvc["metadata"]["name"])
        look_again(lambda obj: trained_waits_for(obj, version))

    def on_upload(delivery: Delivery) -> None:
        for isvc in resources().list(names.API_VERSION, names.KIND):
            if awaiting.concerns(isvc, delivery.data(), str(delivery.event.get_subject() or "")):
                reconciler.reconcile(isvc["metadata"]["namespace"], isvc["metadata"]["name"])
        look_again(lambda obj: awaiting.concerns_trained(obj, delivery.data(), str(delivery.event.get_subject() or "")))

    def look_again(waits: Callable[[dict[str, Any]], bool]) -> None:
        found = [obj for obj in resources().list(trained.API_VERSION, trained.KIND) if waits(obj)]
        for namespace, isvc in sorted({(obj["metadata"]["namespace"], parent(obj)) for obj in found}):
            trained_models.reconcile(namespace, isvc)

    def on_host_started(_delivery: Delivery) -> None:
        look_again(status.is_awaited)

    def on_outcome(delivery: Delivery) -> None:
        outcome = Outcome.from_data(delivery.data())
        check_source(delivery.source, outcome.namespace, outcome.inferenceservice)
        trained_models.told(outcome)

    def on_observation(delivery: Delivery) -> None:
        seen = Observation.from_data(delivery.data())
        check_source(delivery.source, seen.namespace, seen.inferenceservice)
        with delivery.transaction() as tx:
            rollouts.observe(tx, seen)

    def on_recorded(delivery: Delivery) -> None:
        told = Recorded.from_data(delivery.data())
        check_source(delivery.source, told.namespace, told.inferenceservice)
        with delivery.transaction() as tx:
            labels.remember(tx, told)

    def on_feedback(delivery: Delivery) -> None:
        given = Feedback.from_data(delivery.data())
        check_source(delivery.source, given.namespace, given.inferenceservice)
        with delivery.transaction() as tx:
            labels.judge(tx, given)

    def on_decision(delivery: Delivery) -> None:
        data = delivery.data()
        reconciler.reconcile(str(data.get("namespace")), str(data.get("inferenceservice")))

    @app.flask.get("/api/inference/v1/rollouts/<namespace>/<name>")
    def why(namespace: str, name: str) -> dict[str, Any]:
        with app.database.reading() as session:
            return {"rollouts": telling.rollouts_of(session, namespace, name)}

    for change in CHANGES:
        app.on(change)(on_change)
    for uploaded in awaiting.UPLOADED:
        app.on(uploaded)(on_upload)
    app.on(VERSION_REGISTERED)(on_version)
    app.on(VERSION_APPROVED)(on_version)
    app.on(OBSERVED)(on_observation)
    app.on(RECORDED)(on_recorded)
    app.on(FEEDBACK)(on_feedback)
    app.on(rollouts.DECIDED)(on_decision)
    app.on(LOADED)(on_outcome)
    app.on(FAILED)(on_outcome)
    app.on(HOST_STARTED)(on_host_started)
    return app.flask


def _platform(settings: Settings, environment: Mapping[str, str]) -> Platform:
    return Platform(
        store=str(settings.store),
        domain=environment.get("ZEROFLOW_DOMAIN") or Platform.domain,
        image=environment.get("ZEROFLOW_PREDICTOR_IMAGE") or Platform.image,
        torch_image=environment.get("ZEROFLOW_PREDICTOR_TORCH_IMAGE") or Platform.torch_image,
        storage=_storage(settings, environment),
        trusted=tuple(filter(None, environment.get("ZEROFLOW_TRUSTED_MODELS", "").split(","))),
        telemetry=telemetry_of(environment),
        sink=settings.sink,
        runs_image=_runs_image(environment),
        services=_services(settings, environment),
        is_embedded="ZEROFLOW_HOME" in environment,
        token=settings.token,
    )


def _runs_image(environment: Mapping[str, str]) -> Callable[[str], bool]:
    """Return what says whether an image can be run: the embedded host runs those that something is mapped for."""
    if "ZEROFLOW_HOME" not in environment:
        return Platform.runs_image
    images = Images.from_environment(environment)
    return lambda image: images.of(image) is not None


def _services(settings: Settings, environment: Mapping[str, str]) -> str:
    """Return the address of a Knative Service within this installation, to be filled in."""
    if "ZEROFLOW_HOME" not in environment or settings.sink is None:
        return Platform.services
    return f"{settings.sink.partition('/eventing/')[0]}/serving/{{namespace}}/{{service}}"  # the embedded host


def _storage(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what the installation says of where models lie; credentials are not among it."""
    given = {name: environment[name] for name in STORAGE_VARIABLES if environment.get(name)}
    if home := environment.get("ZEROFLOW_HOME"):  # the embedded host's
        given.setdefault("ZEROFLOW_MODEL_CACHE", f"{home}/cache/models")
    return given | ({"AWS_ENDPOINT_URL_S3": settings.s3_endpoint} if settings.s3_endpoint else {})


def _concerned(obj: Mapping[str, Any]) -> tuple[str | None, str, str]:
    """Return kind, namespace and name of what an object's change concerns; no kind when it is foreign."""
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict) or not metadata.get("name") or not metadata.get("namespace"):
        raise InvalidInput("event data must be a namespaced Kubernetes object (ApiServerSource, mode Resource)")
    namespace, labels = str(metadata["namespace"]), metadata.get("labels") or {}
    if obj.get("kind") in (names.KIND, GRAPH_KIND, trained.KIND, named.KIND):
        return str(obj["kind"]), namespace, str(metadata["name"])
    for label, kind in ((names.LABEL, names.KIND), (GRAPH_LABEL, GRAPH_KIND)):
        if owner := labels.get(label):
            return kind, namespace, str(owner)
    return None, namespace, ""


def _roll_out(resources: Resources, isvc: dict[str, Any], version: RegisteredVersion) -> None:
    """Patch one InferenceService under the resourceVersion that was read; look again when it changed meanwhile."""
    namespace, name = isvc["metadata"]["namespace"], isvc["metadata"]["name"]
    read = [isvc]

    def once() -> None:
        found = read.pop() if read else resources.get(names.API_VERSION, names.KIND, namespace, name)
        patch = rolled_out(found, version)
        if patch is not None:
            resources.merge(names.API_VERSION, names.KIND, namespace, name, patch)
            logger.info("rolling out namespace=%s name=%s version=%s", namespace, name, version.version)

    try:
        starting_over(once)
    except Refused as refused:  # its own status says so; others that follow the model must not suffer
        logger.warning("cannot roll out namespace=%s name=%s: %s", namespace, name, refused)
    except NotFound:
        return
