"""The ConfigMaps of namespace `knative-serving`, looked up when they are needed and checked when they are written."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.api.errors import BadRequest
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.serving.configuration import autoscaler, others, revisions
from zeroflow.knative.local.serving.configuration.reading import Data
from zeroflow.knative.local.serving.configuration.revisions import RevisionDefaults
from zeroflow.knative.local.serving.garbage import Retention
from zeroflow.knative.local.serving.scaling import ScaleDefaults

Object = dict[str, Any]
Read = TypeVar("Read")
logger = logging.getLogger(__name__)

KIND, NAMESPACE = "ConfigMap", "knative-serving"
_DENIED = 'admission webhook "config.webhook.serving.knative.dev" denied the request: validation failed: '


class ConfigMaps:
    """What they say now. `scaling` and `retention` are this host's own defaults, `deadline_s` that of a start."""

    def __init__(
        self, store: Store, scaling: ScaleDefaults, deadline_s: float, retention: Retention | None = None
    ) -> None:
        self._store, self._scaling, self._deadline_s, self._retention = store, scaling, deadline_s, retention
        store.admit(KIND, self._admit)

    def scaling(self) -> ScaleDefaults:
        """Return the defaults of the autoscaler."""
        return self._read("config-autoscaler", lambda data: autoscaler.read(data, self._scaling))

    def revisions(self) -> RevisionDefaults:
        """Return what is filled into templates, and their bounds."""
        return self._read("config-defaults", revisions.read)

    def retention(self) -> Retention:
        """Return which revisions are kept."""
        return self._retention or self._read("config-gc", others.retention)

    def progress_deadline_s(self) -> float:
        """Return how long an instance may take to become ready."""
        return self._read("config-deployment", lambda data: others.progress_deadline_s(data, self._deadline_s))

    def rollout_s(self) -> float:
        """Return how long traffic takes to move to a new revision."""
        return self._read("config-network", others.rollout_s)

    def _read(self, name: str, read: Callable[[Data], Read]) -> Read:
        written = (self._store.find(KIND, NAMESPACE, name) or {}).get("data") or {}
        try:
            return read(Data(written))
        except InvalidInput as error:  # admitted by an earlier version
            logger.warning("ConfigMap %s/%s: %s", NAMESPACE, name, error)
            return read(Data({}))

    def _admit(self, new: Object, old: Object | None) -> Object:
        """Refuse a ConfigMap of Knative that cannot be read, or asks for what this host does not have."""
        if new["metadata"].get("namespace") != NAMESPACE:
            return new
        data = Data(new.get("data") or {})
        try:
            match new["metadata"].get("name"):
                case "config-autoscaler":
                    autoscaler.read(data, self._scaling)
                case "config-defaults":
                    revisions.read(data)
                case "config-gc":
                    others.retention(data)
                case "config-deployment":
                    others.progress_deadline_s(data, self._deadline_s)
                case "config-network":
                    others.rollout_s(data)
                case "config-observability":
                    others.check_observability(data)
                case "config-domain":
                    others.check_domain([key for key in new.get("data") or {} if not key.startswith("_")])
        except InvalidInput as error:
            raise BadRequest(f"{_DENIED}{error}") from error
        return new
