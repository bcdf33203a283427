"""Writes the status of this room's objects back to the store."""

from __future__ import annotations

import logging

from zeroflow.knative.local.api.errors import Conflict, NotFound
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.store import Store

logger = logging.getLogger(__name__)


class StatusWriter:
    """Writes what changed; an object that was deleted or changed meanwhile is left to its next reconciliation."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def write(self, obj: Object) -> None:
        """Write the status of one object."""
        try:
            await self._store.update_status(obj)
        except (NotFound, Conflict):
            metadata = obj["metadata"]
            logger.debug("status not written: kind=%s name=%s/%s", obj["kind"], metadata["namespace"], metadata["name"])
