"""What was predicted, by request id, for whoever joins it with labels later; told every second while there is traffic.

Guarantees: a request pays for putting its answer into a list, reads and sends nothing; at most `MAX_ANSWERS` of at most
`MAX_ANSWER_BYTES` are kept a second, further ones are left out, which favours no revision's answers over another's by
what they say; what could not be sent is sent again under the same id, for a while. Left out too: answers that are no
JSON (binary tensors, gRPC). The event is that of zeroflow.predictions.recorded.
"""

import logging
import secrets
import threading
import time
from collections import deque

import orjson

from zeroflow.functions.predictor.sending import Sender, rfc3339
from zeroflow.functions.predictor.settings import Identity
from zeroflow.predictions.recorded import RECORDED, Recorded, rows_of

logger = logging.getLogger(__name__)

EVERY_S = 1.0
MAX_ANSWERS = 1000
MAX_ANSWER_BYTES = 64 << 10
KEPT = 60
"""Windows that wait for a broker that does not answer."""


class Recorder:
    """Takes answers from requests, and tells of them from a thread of its own."""

    def __init__(self, identity: Identity, sender: Sender) -> None:
        self._identity, self._sender = identity, sender
        self._answers: list[tuple[str, bytes]] = []
        self._unsent: deque[Recorded] = deque(maxlen=KEPT)
        self._process, self._sequence = "", 0
        self._lock, self._closing = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, request_id: str, answer: bytes) -> None:
        """Take an answered prediction; never waits."""
        if len(answer) > MAX_ANSWER_BYTES or not answer.startswith(b"{"):
            return
        with self._lock:
            if len(self._answers) < MAX_ANSWERS:
                self._answers.append((request_id, answer))
            if self._thread is None and not self._closing.is_set():
                self._process = secrets.token_hex(4)
                self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Tell of what has been taken and end."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(10.0)
        self._tell()

    def _run(self) -> None:
        while not self._closing.wait(EVERY_S):
            self._tell()

    def _tell(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        found = [(request_id, rows) for request_id, answer in answers if (rows := _read(answer)) is not None]
        if found:
            self._sequence += 1
            own = self._identity
            if len(self._unsent) == KEPT:
                logger.error("predictions %s are lost: the broker has not answered", self._unsent[0].event_id)
            self._unsent.append(
                Recorded(
                    inferenceservice=own.inferenceservice,
                    namespace=own.namespace,
                    revision=own.revision,
                    pod=own.pod,
                    process=self._process,
                    sequence=self._sequence,
                    predictions=tuple((request_id, tuple(rows)) for request_id, rows in found),
                )
            )
        while self._unsent:
            said = self._unsent[0]
            attributes = {
                "specversion": "1.0",
                "id": said.event_id,
                "type": RECORDED,
                "source": said.source,
                "subject": said.subject,
                "time": rfc3339(time.time()),
            }
            if not self._sender.post(attributes, "application/json", orjson.dumps(said.to_data())):
                return
            self._unsent.popleft()


def _read(answer: bytes) -> list[object] | None:
    try:
        return rows_of(orjson.loads(answer))
    except orjson.JSONDecodeError:  # raw tensors after the head
        return None
