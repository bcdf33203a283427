"""Brings what runs in line with what an InferenceService declares.

Level-triggered: an event says only which InferenceService to look at; everything is read anew. The Knative Services
are read before the InferenceService and written under their resourceVersion, so that of two reconciliations at once
the one with the older picture fails with Conflict and starts over. Writing what is already so is no change, hence no
event and no loop.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from zeroflow.errors import InvalidInput, NotFound, Unavailable
from zeroflow.functions.inference import containers, inspection, location, manifests, names, rollout, runtimes, status
from zeroflow.functions.inference.canary.following import Canaries
from zeroflow.functions.inference.canary.named import with_policy
from zeroflow.functions.inference.canary.policy import policy_of
from zeroflow.functions.inference.component import DECIDED, Component
from zeroflow.functions.inference.containers import Platform, Pod
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.rollout import Rollout
from zeroflow.functions.inference.runtimes import Runtime
from zeroflow.functions.inference.spec import Declared, is_stopped, parse_spec
from zeroflow.functions.inference.status import Served
from zeroflow.functions.inference.stored import Stored
from zeroflow.functions.inference.trained import configuration
from zeroflow.functions.inference.versions import newest_version, rolled_out
from zeroflow.inference import naming
from zeroflow.inference.services import COMPONENTS
from zeroflow.metadata import Database
from zeroflow.models.formats import TRITON
from zeroflow.models.trust import TRUST_ANNOTATION, Word
from zeroflow.resources import conditions
from zeroflow.resources.client import Resources
from zeroflow.resources.owners import is_controlled_by
from zeroflow.resources.starting_over import starting_over

logger = logging.getLogger(__name__)

Object = dict[str, Any]


@dataclass(frozen=True)
class Reconciler:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    database: Database
    platform: Platform
    canaries: Canaries
    await_model: Callable[[str, str, Object | None, bool], bool] = lambda namespace, name, isvc, lacks: False
    """Has an InferenceService looked at again when its model is uploaded (awaiting.await_model)."""
    note_refusal: Callable[[Object, Refused], None] = lambda isvc, refused: None
    """Records that an InferenceService was refused; called once for each new reason."""

    def reconcile(self, namespace: str, name: str) -> None:
        """Reconcile one InferenceService; nothing happens when it is gone. Raises Conflict when others keep writing."""
        starting_over(lambda: self._once(namespace, name))

    def _once(self, namespace: str, name: str) -> None:
        found = {kind: self._service(namespace, names.service_name(name, kind)) for kind in COMPONENTS}
        isvc = self.resources().find(names.API_VERSION, names.KIND, namespace, name)
        if isvc is None or isvc["metadata"].get("deletionTimestamp"):
            self.canaries.listen(namespace, name, None)
            self.await_model(namespace, name, None, False)
            return  # what it owned goes with it
        asked = isvc
        try:
            asked = with_policy(self.resources(), isvc)
            new = self._stop(isvc, found) if is_stopped(isvc) else self._serve(asked, found)
        except Refused as reason:
            if reason.condition_reason == "AwaitingModel" and self._adopt_newest(isvc):
                return  # the change of the InferenceService is an event of its own
            logger.info("InferenceService refused namespace=%s name=%s reason=%s", namespace, name, reason)
            if self.await_model(namespace, name, isvc, reason.failure == "ModelLoadFailed"):
                self._once(namespace, name)  # it may have been uploaded since
                return
            new = status.refused(isvc, found["predictor"], reason)
            if reason.failure is not None and new != isvc.get("status"):
                self.note_refusal(isvc, reason)
            if reason.passing:
                self._write(isvc, new)
                raise Unavailable(str(reason)) from reason  # the broker tells of it again, later
        else:
            self.await_model(namespace, name, isvc, False)
        self._write(isvc, new)
        self.canaries.listen(namespace, name, None if is_stopped(isvc) else asked)

    def _write(self, isvc: Object, new: Object) -> None:
        if new != isvc.get("status"):
            self.resources().write_status({**isvc, "status": new})

    def _service(self, namespace: str, name: str) -> Object | None:
        return self.resources().find(names.SERVICE_API_VERSION, names.SERVICE_KIND, namespace, name)

    def _serve(self, isvc: Object, found: dict[str, Object | None]) -> Object:
        spec = parse_spec(isvc)
        for service in found.values():
            self._check_owner(isvc, service)
        runtime, predictor = self._predictor(isvc, spec, found)
        served = {"predictor": self._component(isvc, spec, spec.predictor, predictor, found["predictor"])}
        waiting = {}
        host = _host_of(served["predictor"].service)
        for component in spec.components[1:]:
            if host is None:
                waiting[component.kind] = "waits for the predictor's address"
                continue
            pod = self._stored(isvc, component, _beside(isvc, spec, component, host))
            served[component.kind] = self._component(isvc, spec, component, pod, found[component.kind])
        self._remove(isvc, found, keep=(*served, *waiting))
        entry = names.service_name(isvc["metadata"]["name"], "transformer" if spec.transformer else "predictor")
        mapping = manifests.mapping(isvc, entry, self.platform)
        # What there is not yet is not mapped: a name that leads nowhere would be told as a failure
        mapped = self._map(mapping) if mapping is not None and "transformer" not in waiting else None
        adapted = (*spec.adapted, *(runtime.adapted if runtime else ()), *spec.unheeded(predictor.is_own))
        return status.served(isvc, served, mapped, runtime, waiting, adapted)

    def _predictor(
        self, isvc: Object, spec: Declared, found: Mapping[str, Object | None]
    ) -> tuple[Runtime | None, Pod]:
        """Return the runtime that was chosen, where there is a choice, and the predictor's pod."""
        model = spec.model
        if model is None:
            pod = containers.custom(spec.predictor, isvc["metadata"]["name"], None)
            return None, self._stored(isvc, spec.predictor, pod)
        annotations = isvc["metadata"].get("annotations") or {}
        if model.storage_uri is None and model.storage is None:
            if registered := annotations.get(names.REGISTERED_MODEL):
                raise Refused.waiting(registered)
            if not model.is_of_many or spec.multi_model:
                raise Refused.field(f"{model.place}.storageUri", "is missing")
            return self._predictor_of_many(isvc, spec, model, found["explainer"])
        namespace = isvc["metadata"]["namespace"]
        account = spec.predictor.pod.get("serviceAccountName")
        place = location.locate(model, namespace, account, self.resources().find, self.database)
        runtime = runtimes.choose(model, *runtimes.installed(self.resources(), namespace), self.platform.runs_image)
        if not runtime.is_own:
            pod = containers.runtime_server(isvc, model, runtime)
            if model.from_hub:  # it fetches the model itself
                return runtime, pod
            if model.several:
                return runtime, self._stored(isvc, spec.predictor, pod)
            return runtime, containers.with_models(pod, [(Stored(place.uri, place.uri), place)], self.platform)
        if model.several:
            raise Refused.field(
                "spec.predictor.storageUris",
                "is not supported for our predictor, which loads one location put at /mnt/models: give it that one, "
                "or a runtime or containers of your own all of them",
            )
        if runtime.is_triton:
            model = replace(model, format=TRITON)
        owner = f"InferenceService {namespace}/{isvc['metadata']['name']} ({TRUST_ANNOTATION})"
        word = manifests.word_of(found["predictor"], isvc, spec, place.uri) or inspection.inspect(
            model, place, owner if spec.trusts_pickle else None, self.platform, self.database, spec.multi_model
        )
        host = _explainer_host(spec, found["explainer"])
        reference = self._name_of_reference(isvc)
        return runtime, containers.own_predictor(isvc, spec, model, place, word, self.platform, host, reference)

    def _name_of_reference(self, isvc: Object) -> str | None:
        """Return the name by which the model answers that canaries are compared with; None without one."""
        policy = policy_of(isvc["metadata"].get("annotations") or {})
        if policy is None or policy.reference is None:
            return None
        found = self.resources().find(names.API_VERSION, names.KIND, isvc["metadata"]["namespace"], policy.reference)
        return policy.reference if found is None else naming.predictor_name(found)

    def _predictor_of_many(
        self, isvc: Object, spec: Declared, model: Model, explainer: Object | None
    ) -> tuple[Runtime, Pod]:
        """Return the predictor that serves the TrainedModels which name this InferenceService, none at first."""
        namespace = isvc["metadata"]["namespace"]
        runtime = runtimes.choose(model, *runtimes.installed(self.resources(), namespace), self.platform.runs_image)
        if not runtime.is_own:
            raise Refused(
                "UnsupportedRuntime",
                f"runtime {runtime.name} is for many models, which KServe's agent would bring to its own server; here "
                f"{runtimes.OWN_NAME_OF_MANY} serves them",
            )
        account = spec.predictor.pod.get("serviceAccountName")
        place = location.of_many(namespace, account, self.resources().find)
        configuration.ensure(self.resources(), isvc)
        host = _explainer_host(spec, explainer)
        return runtime, containers.own_predictor(isvc, spec, model, place, Word(), self.platform, host)

    def _stored(self, isvc: Object, component: Component, pod: Pod) -> Pod:
        """Return the pod with what its component stores in it."""
        if not component.stored:
            return pod
        namespace, account = isvc["metadata"]["namespace"], component.pod.get("serviceAccountName")
        find = self.resources().find
        found = [
            (each, location.at(each.place, each.uri, namespace, account, find, self.database))
            for each in component.stored
        ]
        return containers.with_models(pod, found, self.platform)

    def _component(self, isvc: Object, spec: Declared, component: Component, pod: Pod, found: Object | None) -> Served:
        """Apply a component's Knative Service."""
        old = ((isvc.get("status") or {}).get("components") or {}).get(component.kind) or {}
        done = Rollout.of(old)
        if found is not None:
            done = rollout.advanced(done, found)
        tagged = (isvc["metadata"].get("annotations") or {}).get(names.TAG_ROUTING) == "true"
        wanted = manifests.service(isvc, component, pod, [], manifests.spec_seen(isvc, spec))
        percent, shadowed = component.canary_percent, False
        if component.kind in DECIDED:
            percent, shadowed = self.canaries.percent(isvc, component, wanted, found, done)
        wanted["spec"]["traffic"] = rollout.traffic(percent, done, tagged, shadowed)
        service = self._apply(wanted, found)
        if component.kind in DECIDED:
            self.canaries.follow(isvc, component, service, done)
        return Served(service, done, self._failed_revision(service))

    def _apply(self, wanted: Object, found: Object | None) -> Object:
        """Apply, never create: only fields that were applied go away when they are no longer wanted."""
        if found is not None:
            version = found["metadata"]["resourceVersion"]
            wanted = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": version}}
        try:
            return self.resources().apply(wanted)
        except InvalidInput as error:  # what Knative's admission refuses, the user has asked for
            raise Refused("KnativeServiceRefused", str(error)) from error

    def _map(self, wanted: Object) -> Object | None:
        """Apply the DomainMapping; a cluster that has no such kind gives the Knative Service's own URL only."""
        try:
            return self.resources().apply(wanted)
        except NotFound:
            return None

    def _failed_revision(self, service: Object) -> Object | None:
        """Return the newest revision when it is the reason that the Knative Service is not ready."""
        configured = conditions.find_condition(service, "ConfigurationsReady")
        newest = (service.get("status") or {}).get("latestCreatedRevisionName")
        if configured is None or configured["status"] != "False" or not newest:
            return None
        namespace = service["metadata"]["namespace"]
        return self.resources().find(names.SERVICE_API_VERSION, names.REVISION_KIND, namespace, newest)

    def _check_owner(self, isvc: Object, found: Object | None) -> None:
        """Refuse to take over a Knative Service of this name that somebody else made."""
        if found is not None and not is_controlled_by(found, isvc):
            raise Refused(
                "NameTaken",
                f"Knative Service {found['metadata']['name']} exists and does not belong to this InferenceService",
            )

    def _remove(self, isvc: Object, found: dict[str, Object | None], keep: tuple[str, ...] = ()) -> None:
        """Delete the Knative Services of components that are no longer asked for."""
        namespace = isvc["metadata"]["namespace"]
        for kind, service in found.items():
            if service is not None and kind not in keep and is_controlled_by(service, isvc):
                name = service["metadata"]["name"]
                self.resources().delete(names.SERVICE_API_VERSION, names.SERVICE_KIND, namespace, name)

    def _stop(self, isvc: Object, found: dict[str, Object | None]) -> Object:
        mapping = manifests.mapping_name(isvc, self.platform)
        namespace = isvc["metadata"]["namespace"]
        self.resources().delete(names.MAPPING_API_VERSION, names.MAPPING_KIND, namespace, mapping)
        self._remove(isvc, found)
        return status.stopped(isvc)

    def _adopt_newest(self, isvc: Object) -> bool:
        """Let an InferenceService without a location begin with the newest version of its registered model."""
        registered = isvc["metadata"]["annotations"][names.REGISTERED_MODEL]
        with self.database.reading() as session:
            version = newest_version(session, registered)
        if version is None:
            return False
        patch = rolled_out(isvc, version)
        if patch is not None:
            metadata = isvc["metadata"]
            self.resources().merge(names.API_VERSION, names.KIND, metadata["namespace"], metadata["name"], patch)
        return patch is not None


def _beside(isvc: Object, spec: Declared, component: Component, host: str) -> Pod:
    """Return the pod of a transformer or explainer."""
    name = naming.predictor_name(isvc)
    if component.kind == "explainer" and spec.art is not None:
        return containers.art(component, spec.art, name, host)
    return containers.custom(component, name, host)


def _explainer_host(spec: Declared, explainer: Object | None) -> str | None:
    return _host_of(explainer) if spec.explainer is not None and explainer is not None else None


def _host_of(service: Object) -> str | None:
    """Return where a component's container reaches the predictor: host, port and path, without the scheme."""
    found = service.get("status") or {}
    url = (found.get("address") or {}).get("url") or found.get("url")
    return str(url).partition("://")[2].rstrip("/") if url else None
