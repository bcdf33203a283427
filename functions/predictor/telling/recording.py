"""What was predicted, by request id, for whoever joins it with labels later; told every second while there is traffic.

Guarantees: a request pays for putting its answer into a list, reads and sends nothing; at most `MAX_ANSWERS` of at most
`MAX_ANSWER_BYTES` are kept a second, further ones are left out, which favours no revision's answers over another's by
what they say; what could not be sent is sent again under the same id, for a while. Left out too: answers that are no
JSON (binary tensors, gRPC). The event is that of zeroflow.predictions.recorded.
"""

import threading

import orjson

from zeroflow.functions.predictor.settings import Identity
from zeroflow.functions.predictor.telling.beat import Beat
from zeroflow.functions.predictor.telling.sending import Sender
from zeroflow.functions.predictor.telling.teller import Teller
from zeroflow.predictions.recorded import Recorded, rows_of

EVERY_S = 1.0
MAX_ANSWERS = 1000
MAX_ANSWER_BYTES = 64 << 10
KEPT = 60
"""Windows that wait for a broker that does not answer."""


class Recorder:
    """Takes answers from requests, and tells of them from a thread of its own."""

    def __init__(self, identity: Identity, sender: Sender) -> None:
        self._teller = Teller(identity, sender, KEPT)
        self._answers: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()
        self._beat = Beat("recorder", self._tell, EVERY_S)

    def add(self, request_id: str, answer: bytes) -> None:
        """Take an answered prediction; never waits."""
        if len(answer) > MAX_ANSWER_BYTES or not answer.startswith(b"{"):
            return
        with self._lock:
            if len(self._answers) < MAX_ANSWERS:
                self._answers.append((request_id, answer))
            self._teller.begin()
            self._beat.start()

    def close(self) -> None:
        """Tell of what has been taken and end."""
        self._beat.close()

    def _tell(self) -> None:
        with self._lock:
            answers, self._answers = self._answers, []
        found = [(request_id, rows) for request_id, answer in answers if (rows := _read(answer)) is not None]
        if found:
            predictions = tuple((request_id, tuple(rows)) for request_id, rows in found)
            self._teller.put(Recorded(**self._teller.signature(), predictions=predictions))
        self._teller.send()


def _read(answer: bytes) -> list[object] | None:
    try:
        return rows_of(orjson.loads(answer))
    except orjson.JSONDecodeError:  # raw tensors after the head
        return None
