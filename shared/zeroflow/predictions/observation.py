"""What one predictor process answered for one model in one window of time.

The event: type `dev.zeroflow.predictions.observed`, source `/zeroflow/predictors/<namespace>/<inferenceservice>/<pod>`,
subject `<namespace>/<inferenceservice>`, id `<pod>.<process>.<sequence>`. Windows of one process do not overlap, and a
repeated event has the id of the first: sums over events with different `(source, id)` count each request once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.errors import Forbidden, InvalidInput
from zeroflow.predictions.latency import Latency

OBSERVED = "dev.zeroflow.predictions.observed"
CLIENT, MODEL, SERVER, OVERLOAD = "client", "model", "server", "overload"
ERRORS = (CLIENT, MODEL, SERVER, OVERLOAD)
"""Whose fault: the request's (4xx), the model's, this server's (any other 5xx), too many requests (429, 503)."""
UNKNOWN_CALLER = ""


class Told:
    """An event of a predictor's process: where it comes from, what it is about, what it says."""

    inferenceservice: str
    namespace: str
    pod: str

    @property
    def event_id(self) -> str:
        """The event's id: unique among those of its source."""
        raise NotImplementedError

    @property
    def event_type(self) -> str:
        """The event's type."""
        raise NotImplementedError

    @property
    def at_ms(self) -> int | None:
        """When it was so, in milliseconds of Unix time; None: when it is sent."""
        return None

    def to_data(self) -> dict[str, Any]:
        """Return the event's data."""
        raise NotImplementedError

    @property
    def source(self) -> str:
        """The event's source."""
        return f"{source_prefix(self.namespace, self.inferenceservice)}{self.pod}"

    @property
    def subject(self) -> str:
        """The event's subject."""
        return f"{self.namespace}/{self.inferenceservice}"


@dataclass(frozen=True)
class Observation(Told):
    """Counts of one window; every request is counted once, in `requests`, `latency` and `callers`."""

    inferenceservice: str
    namespace: str
    revision: str
    model: str
    pod: str
    process: str
    """Tells the processes of one pod, and their restarts, apart."""
    sequence: int
    start_ms: int
    end_ms: int
    requests: int
    errors: Mapping[str, int] = field(default_factory=dict)
    latency: Latency = field(default_factory=Latency)
    """From the arrival of the whole request to its answer, errors included."""
    callers: Mapping[str, int] = field(default_factory=dict)
    """Who asked, as the platform authenticated them; "" where it does not know."""
    model_version: str | None = None
    """The registered version, where there is one."""
    uri: str | None = None
    """Where the model came from."""
    sha256: str | None = None
    """Content hash of the model's bytes."""
    shadow: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Copies of requests to a canary, by its revision ("" where unknown): `agreed`, `differed`, `dropped`."""

    @property
    def event_id(self) -> str:
        """The event's id."""
        return f"{self.pod}.{self.process}.{self.sequence}"

    @property
    def event_type(self) -> str:
        """The event's type."""
        return OBSERVED

    @property
    def at_ms(self) -> int:
        """The end of the window."""
        return self.end_ms

    @property
    def failures(self) -> int:
        """How many requests failed that no caller is to blame for."""
        return sum(count for name, count in self.errors.items() if name != CLIENT)

    def to_data(self) -> dict[str, Any]:
        """Return the event's data."""
        return {
            "inferenceservice": self.inferenceservice,
            "namespace": self.namespace,
            "revision": self.revision,
            "model": self.model,
            "model_version": self.model_version,
            "uri": self.uri,
            "sha256": self.sha256,
            "pod": self.pod,
            "process": self.process,
            "sequence": self.sequence,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "requests": self.requests,
            "errors": dict(self.errors),
            "latency": self.latency.to_data(),
            "callers": dict(self.callers),
            **({"shadow": {name: dict(counts) for name, counts in self.shadow.items()}} if self.shadow else {}),
        }

    @classmethod
    def from_data(cls, data: Any) -> "Observation":
        """Read an event's data; raise InvalidInput naming the field that is wrong."""
        if not isinstance(data, Mapping):
            raise InvalidInput("an observation must be a JSON object")
        return cls(
            inferenceservice=text(data, "inferenceservice"),
            namespace=text(data, "namespace"),
            revision=text(data, "revision"),
            model=text(data, "model"),
            pod=text(data, "pod"),
            process=text(data, "process"),
            sequence=_count(data, "sequence"),
            start_ms=_count(data, "start_ms"),
            end_ms=_count(data, "end_ms"),
            requests=_count(data, "requests"),
            errors=_counts(data, "errors"),
            latency=Latency.from_data(data.get("latency")),
            callers=_counts(data, "callers"),
            model_version=_optional(data, "model_version"),
            uri=_optional(data, "uri"),
            sha256=_optional(data, "sha256"),
            shadow=_shadow(data.get("shadow")),
        )


def _shadow(value: Any) -> dict[str, dict[str, int]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidInput(f"shadow must be an object of counts by revision, got {str(value)[:40]}")
    return {str(revision): _counts(value, revision) for revision in value}


def source_prefix(namespace: str, inferenceservice: str) -> str:
    """Return how the source of every event of an InferenceService's predictors begins."""
    return f"/zeroflow/predictors/{namespace}/{inferenceservice}/"


def check_source(source: str, namespace: str, inferenceservice: str) -> None:
    """Raise Forbidden when who sends an event speaks of another InferenceService than their token is for.

    Whoever takes a predictor's event asks this: a broker has checked its type and source, and reads no data.
    """
    if not source.startswith(source_prefix(namespace, inferenceservice)):
        raise Forbidden(f"{source[:200]} has no say in what InferenceService {namespace}/{inferenceservice} answers")


def text(data: Mapping[str, Any], name: str) -> str:
    """Return a text of an event's data; raise InvalidInput naming it."""
    value = data.get(name)
    if not isinstance(value, str):
        raise InvalidInput(f"{name} must be a string, got {str(value)[:40]}")
    return value


def _optional(data: Mapping[str, Any], name: str) -> str | None:
    return None if data.get(name) is None else text(data, name)


def _count(data: Mapping[str, Any], name: str) -> int:
    value = data.get(name)
    if type(value) is not int or value < 0:
        raise InvalidInput(f"{name} must be a whole number of 0 or more, got {str(value)[:40]}")
    return value


def _counts(data: Mapping[str, Any], name: str) -> dict[str, int]:
    value = data.get(name)
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{name} must be an object of counts, got {str(value)[:40]}")
    return {str(key): _count(value, key) for key in value}
