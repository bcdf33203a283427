"""The methods of Katib's gRPC services (api.v1.beta1), by path: a message in, a message out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from zeroflow.functions.trial.manager import messages

if TYPE_CHECKING:
    from zeroflow.functions.trial.manager.observations import Observations

SERVICE = "/api.v1.beta1.DBManager/"
SUGGESTION, EARLY_STOPPING = "/api.v1.beta1.Suggestion/", "/api.v1.beta1.EarlyStopping/"
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

    def suggestions(message: bytes) -> bytes:
        from zeroflow.functions.trial.manager import suggestions  # its libraries are heavy, and seldom asked for

        return suggestions.suggestions(message)

    def validate_algorithm(message: bytes) -> bytes:
        from zeroflow.functions.trial.manager import suggestions

        return suggestions.validate_algorithm(message)

    def rules(message: bytes) -> bytes:
        from zeroflow.functions.trial.manager import suggestions

        return suggestions.early_stopping_rules(message, observations().log)

    def validate_early_stopping(message: bytes) -> bytes:
        from zeroflow.functions.trial.manager import suggestions

        return suggestions.validate_early_stopping(message)

    return {
        f"{SUGGESTION}GetSuggestions": suggestions,
        f"{SUGGESTION}ValidateAlgorithmSettings": validate_algorithm,
        f"{EARLY_STOPPING}GetEarlyStoppingRules": rules,
        f"{EARLY_STOPPING}ValidateEarlyStoppingSettings": validate_early_stopping,
        f"{SERVICE}ReportObservationLog": report,
        f"{SERVICE}GetObservationLog": get,
        f"{SERVICE}DeleteObservationLog": forget,
        "/grpc.health.v1.Health/Check": lambda _: b"\x08\x01",  # SERVING
    }
