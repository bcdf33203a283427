"""How a delivery is tried again, and what an answer means.

Source: Knative Eventing DeliverySpec (retry, backoff, timeout, dead-letter sink) and the broker filter's rules for
answers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from zeroflow.knative.local.eventing import cloudevent
from zeroflow.knative.local.eventing.errors import InvalidEvent, InvalidSpec

DEFAULT_TIMEOUT_S = 600.0
ERROR_DATA_MAX_CHARS = 1024
_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+(?:\.\d+)?)W)?(?:(?P<days>\d+(?:\.\d+)?)D)?"
    r"(?:T(?:(?P<hours>\d+(?:\.\d+)?)H)?(?:(?P<minutes>\d+(?:\.\d+)?)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)
_SECONDS = {"weeks": 604800, "days": 86400, "hours": 3600, "minutes": 60, "seconds": 1}
_FIELDS = frozenset({"deadLetterSink", "retry", "backoffPolicy", "backoffDelay", "timeout", "format", "retryAfterMax"})


class Answer(Protocol):
    """What a receiver answered; header names are looked up case-insensitively."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class DeliveryPolicy:
    """One trigger's, broker's or source's delivery spec without its dead-letter sink."""

    retry: int = 0
    exponential: bool = True
    backoff_s: float = 0.0
    timeout_s: float = DEFAULT_TIMEOUT_S
    structured: bool | None = None  # None: as the event came

    def delay_s(self, failed_attempts: int) -> float:
        """Return the wait before the next attempt; `failed_attempts` >= 1. The first linear retry comes at once."""
        retry = failed_attempts - 1
        return self.backoff_s * (2**retry if self.exponential else retry)


BROKER_DEFAULT: dict[str, Any] = {"retry": 10, "backoffPolicy": "exponential", "backoffDelay": "PT0.2S"}
SOURCE_POLICY = DeliveryPolicy(retry=5, exponential=True, backoff_s=0.05)


def parse_policy(spec: Mapping[str, Any] | None, path: str = "spec.delivery") -> DeliveryPolicy:
    """Read a delivery spec; raise InvalidSpec naming the field. None means: one attempt."""
    if not spec:
        return DeliveryPolicy()
    if unknown := sorted(set(spec) - _FIELDS):
        raise InvalidSpec(f"{path}.{unknown[0]}", "unknown field")
    if spec.get("retryAfterMax") is not None:
        raise InvalidSpec(f"{path}.retryAfterMax", "must not be set: delivery-retryafter is disabled")
    retry = spec.get("retry")
    if retry is not None and (not isinstance(retry, int) or isinstance(retry, bool) or not 0 <= retry <= 1000):
        raise InvalidSpec(f"{path}.retry", f"must be an integer from 0 to 1000, not {retry!r}")
    backoff = spec.get("backoffPolicy")
    if backoff not in {None, "linear", "exponential"}:
        raise InvalidSpec(f"{path}.backoffPolicy", f"must be linear or exponential, not {backoff!r}")
    shape = spec.get("format")
    if shape not in {None, "json", "binary"}:
        raise InvalidSpec(f"{path}.format", f"must be json or binary, not {shape!r}")
    delay = 0.0 if spec.get("backoffDelay") is None else duration_s(spec["backoffDelay"], f"{path}.backoffDelay")
    timeout = DEFAULT_TIMEOUT_S if spec.get("timeout") is None else duration_s(spec["timeout"], f"{path}.timeout")
    if timeout <= 0:
        raise InvalidSpec(f"{path}.timeout", "must be longer than zero")
    return DeliveryPolicy(retry or 0, backoff != "linear", delay, timeout, None if shape is None else shape == "json")


def duration_s(text: Any, path: str) -> float:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds; months and years have no fixed length."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    parts = {unit: value for unit, value in match.groupdict().items() if value is not None} if match else {}
    if not parts or str(text).endswith("T"):
        raise InvalidSpec(path, f"{text!r} is not an ISO 8601 duration such as PT0.2S or PT1M")
    return sum(float(value) * _SECONDS[unit] for unit, value in parts.items())


class Verdict(Enum):
    """What follows from an answer."""

    DONE = "done"
    RETRY = "retry"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, the event that the receiver replied with, and the error as a dead-letter sink is told of it."""

    verdict: Verdict
    reply: cloudevent.Event | None = None
    code: int = 0
    error: str = ""
    body: bytes = b""


def judge(answer: Answer, *, replies: bool, strict: bool = True) -> Judgement:
    """Tell what an answer means. `replies`: an event in it is a reply; `strict`: and other bytes are a fault."""
    status, body = answer.status, answer.body
    if 200 <= status < 300:
        if not replies:
            return Judgement(Verdict.DONE, code=status)
        if cloudevent.is_event(answer.headers):
            try:
                return Judgement(Verdict.DONE, cloudevent.from_http(answer.headers.items(), body), status)
            except InvalidEvent as error:
                return Judgement(Verdict.RETRY, None, 502, f"replied with a malformed event: {error}", body)
        if body and strict:
            problem = "answered with a body that is not a CloudEvent: a subscriber's answer is empty or one event"
            return Judgement(Verdict.RETRY, None, 502, problem, body)
        return Judgement(Verdict.DONE, code=status)
    again = status in {404, 408, 409, 429} or 500 <= status < 600
    said = body[:300].decode("utf-8", "replace").strip()
    error_text = f"answered {status}: {said}" if said else f"answered {status}"
    return Judgement(Verdict.RETRY if again else Verdict.REFUSED, None, status, error_text, body)


def no_answer(problem: str) -> Judgement:
    """Judge an attempt that got no answer at all."""
    return Judgement(Verdict.RETRY, None, 500, problem, f"dispatch error: {problem}".encode())


def error_data(body: bytes) -> str:
    """Encode a body for the knativeerrordata extension: base64 of at most 1024 characters."""
    return base64.b64encode(body[: ERROR_DATA_MAX_CHARS // 4 * 3]).decode()
