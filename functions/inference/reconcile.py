"""Brings what runs in line with what an InferenceService declares.

Level-triggered: an event says only which InferenceService to look at; everything is read anew. The Knative Service is
read before the InferenceService and written under its resourceVersion, so that of two reconciliations at once the one
with the older picture fails with Conflict and starts over. Writing what is already so is no change, hence no event
and no loop.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import Conflict, InvalidInput, NotFound
from zeroflow.functions.inference import inspection, manifests, names, rollout, status
from zeroflow.functions.inference.manifests import Platform
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.rollout import Rollout
from zeroflow.functions.inference.spec import is_stopped, parse_spec
from zeroflow.functions.inference.versions import newest_version, rolled_out
from zeroflow.metadata import Database
from zeroflow.resources import conditions
from zeroflow.resources.client import Resources

logger = logging.getLogger(__name__)

Object = dict[str, Any]

ATTEMPTS = 5
"""How often a reconciliation starts over when somebody else wrote in between; then the broker retries the event."""


@dataclass(frozen=True)
class Reconciler:
    """What a reconciliation works with."""

    resources: Callable[[], Resources]
    database: Database
    stores: Stores
    platform: Platform

    def reconcile(self, namespace: str, name: str) -> None:
        """Reconcile one InferenceService; nothing happens when it is gone. Raises Conflict when others keep writing."""
        for attempt in range(ATTEMPTS):
            try:
                self._once(namespace, name)
                return
            except Conflict:
                if attempt == ATTEMPTS - 1:
                    raise

    def _once(self, namespace: str, name: str) -> None:
        resources = self.resources()
        found = resources.find(names.SERVICE_API_VERSION, names.SERVICE_KIND, namespace, names.service_name(name))
        isvc = resources.find(names.API_VERSION, names.KIND, namespace, name)
        if isvc is None or isvc["metadata"].get("deletionTimestamp"):
            return  # what it owned goes with it
        try:
            new = self._stop(isvc) if is_stopped(isvc) else self._serve(isvc, found)
        except Refused as reason:
            if reason.condition_reason == "AwaitingModel" and self._adopt_newest(isvc):
                return  # the change of the InferenceService is an event of its own
            logger.info("InferenceService refused namespace=%s name=%s reason=%s", namespace, name, reason)
            new = status.refused(isvc, found, reason)
        if new != isvc.get("status"):
            resources.write_status({**isvc, "status": new})

    def _serve(self, isvc: Object, found: Object | None) -> Object:
        spec = parse_spec(isvc)
        self._check_owner(isvc, found)
        owner = f"InferenceService {isvc['metadata']['namespace']}/{isvc['metadata']['name']}"
        word = manifests.word_of(found, isvc, spec) or inspection.inspect(spec, owner, self.stores, self.database)
        component = ((isvc.get("status") or {}).get("components") or {}).get("predictor") or {}
        done = Rollout.of(component)
        if found is not None:
            done = rollout.advanced(done, found)
        tagged = (isvc["metadata"].get("annotations") or {}).get(names.TAG_ROUTING) == "true"
        targets = rollout.traffic(spec.canary_percent, done, tagged)
        service = self._apply(manifests.service(isvc, spec, word, targets, self.platform), found)
        mapping = manifests.mapping(isvc, self.platform)
        mapped = self._map(mapping) if mapping is not None else None
        return status.served(isvc, service, mapped, done, self._failed_revision(service))

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
        if found is None:
            return
        owners = {reference.get("uid") for reference in found["metadata"].get("ownerReferences") or []}
        if isvc["metadata"]["uid"] not in owners:
            raise Refused(
                "NameTaken",
                f"Knative Service {found['metadata']['name']} exists and does not belong to this InferenceService",
            )

    def _stop(self, isvc: Object) -> Object:
        namespace, name = isvc["metadata"]["namespace"], isvc["metadata"]["name"]
        mapping = manifests.mapping_name(isvc, self.platform)
        self.resources().delete(names.MAPPING_API_VERSION, names.MAPPING_KIND, namespace, mapping)
        self.resources().delete(names.SERVICE_API_VERSION, names.SERVICE_KIND, namespace, names.service_name(name))
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
