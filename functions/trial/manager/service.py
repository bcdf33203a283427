"""The methods of `api.v1.beta1.DBManager`, by path: a message in, a message out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from zeroflow.functions.trial.manager import messages

if TYPE_CHECKING:
    from zeroflow.functions.trial.manager.observations import Observations

SERVICE = "/api.v1.beta1.DBManager/"
Method = Callable[[bytes], bytes]


def methods(observations: Callable[[], Observations]) -> Mapping[str, Method]:
    """Return every method by its path; what they read and write is opened by the first call."""

    def report(message: bytes) -> bytes:
        observations().report(*messages.reported(message))
        return b""

    def get(message: bytes) -> bytes:
        asked = messages.texts(message)
        logs = observations().log(asked.get(1, ""), asked.get(2, ""), asked.get(3, ""), asked.get(4, ""))
        return messages.observation_log_reply(logs)

    def forget(message: bytes) -> bytes:
        observations().forget(messages.texts(message).get(1, ""))
        return b""

    return {
        f"{SERVICE}ReportObservationLog": report,
        f"{SERVICE}GetObservationLog": get,
        f"{SERVICE}DeleteObservationLog": forget,
        "/grpc.health.v1.Health/Check": lambda _: b"\x08\x01",  # SERVING
    }
