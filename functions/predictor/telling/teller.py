"""Events of this process, told to the platform in order: an event that was not taken is sent again under the same id.

Guarantees: at most `kept` events wait for a broker that does not answer; the oldest are lost then, and the log says so.
Not safe to use from several threads: each teller belongs to one.
"""

import logging
import secrets
import time
from collections import deque
from typing import Any

import orjson

from zeroflow.functions.predictor.settings import Identity
from zeroflow.functions.predictor.telling.sending import Sender, rfc3339
from zeroflow.predictions.observation import Told

logger = logging.getLogger(__name__)


class Teller:
    """Tells one kind of events, or several, as one predictor; `sender` None tells nobody."""

    def __init__(self, identity: Identity, sender: Sender | None, kept: int) -> None:
        self._identity, self._sender = identity, sender
        self._unsent: deque[Told] = deque(maxlen=kept)
        self._sequence = 0
        self._process = ""

    @property
    def tells(self) -> bool:
        """Whether there is somebody to tell."""
        return self._sender is not None

    def begin(self) -> None:
        """Take the process's name: when it has begun, since workers may have been forked from one parent."""
        self._process = self._process or secrets.token_hex(4)

    def signature(self) -> dict[str, Any]:
        """Return what the next event says of who tells it: the fields that all of them have (`Told`)."""
        self._sequence += 1
        own = self._identity
        return {
            "inferenceservice": own.inferenceservice,
            "namespace": own.namespace,
            "revision": own.revision,
            "pod": own.pod,
            "process": self._process,
            "sequence": self._sequence,
        }

    def put(self, said: Told) -> None:
        """Take an event; it is sent by `send`."""
        if self._sender is None:
            return
        if len(self._unsent) == self._unsent.maxlen:
            logger.error("event %s is lost: the broker has not answered", self._unsent[0].event_id)
        self._unsent.append(said)

    def send(self) -> bool:
        """Send what waits; return whether nothing waits any more."""
        while self._unsent and self._sender is not None:
            said = self._unsent[0]
            attributes = {
                "specversion": "1.0",
                "id": said.event_id,
                "type": said.event_type,
                "source": said.source,
                "subject": said.subject,
                "time": rfc3339(said.at_ms / 1000 if said.at_ms else time.time()),
            }
            if not self._sender.post(attributes, "application/json", orjson.dumps(said.to_data())):
                return False
            self._unsent.popleft()
        return True
