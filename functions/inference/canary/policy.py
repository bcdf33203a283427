"""What the owner of an InferenceService wants of its canaries, read from annotations.

    zeroflow.dev/rollout: auto                               a new revision is a canary, and the evidence decides
    zeroflow.dev/rollout-steps: "5,20,50,100"                its shares of the traffic, in percent
    zeroflow.dev/rollout-metrics: "error-rate, latency-p99<=+0.01, quality"
    zeroflow.dev/rollout-guards: "error-rate<=0.05, latency-p99<=250ms"
    zeroflow.dev/rollout-alpha: "0.05"                       the risk of a wrong promotion, and of a wrong rollback
    zeroflow.dev/rollout-min-requests: "100"                 of the canary at each step, before the next
    zeroflow.dev/rollout-max-requests: "100000"              of the canary, after which it is left as it is
    zeroflow.dev/rollout-shadow: "true"                      before the first step it gets copies only, answers nobody
    zeroflow.dev/rollout-reference: "teacher"                the InferenceService whose answers copies are compared with
    zeroflow.dev/rollout-labels-from: "labeller"             whose labels count for the quality; anybody's without it
    zeroflow.dev/rollout-attempt: "2"                        tries the same revision again
    zeroflow.dev/rollout-policy: careful                     the RolloutPolicy that says what is not said here

A metric is a share of bad events that canary and stable revision are compared by: requests that got no prediction
(4xx as well as 5xx: both have the same callers), requests slower than the stable revision's quantile, wrong answers by
labels that came later. By itself it asks for a better canary; `<=+0.01` is content with one that is at most 0.01 worse.
A guard is a bound of the canary alone. `agreement>=0.98`, as either, is the least share of copies to which a shadowed
canary must predict what the stable revision does.
"""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from zeroflow.functions.inference import names
from zeroflow.functions.inference.refusal import Refused

PREFIX = names.ROLLOUT
OPTIONS = (
    "steps",
    "metrics",
    "guards",
    "alpha",
    "min-requests",
    "max-requests",
    "attempt",
    "shadow",
    "policy",
    "labels-from",
    "reference",
)

ERRORS, QUALITY, LATENCY, AGREEMENT = "error-rate", "quality", "latency", "agreement"
_METRIC = re.compile(r"(error-rate|quality|latency-p(?:50|75|90|95|99|99\.9))(?:<=\+(0(?:\.\d+)?|1))?")
_AGREEMENT = re.compile(r"agreement>=(0\.\d{1,6})")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_GUARD = re.compile(r"(error-rate)<=(0(?:\.\d+)?)|latency-p(50|75|90|95|99|99\.9)<=(\d+(?:\.\d+)?)(ms|s)")


@dataclass(frozen=True)
class Metric:
    """A share of bad events by which both arms are compared."""

    name: str
    margin: float = 0.0
    """How much worse the canary may be; of `agreement`, the share of its answers that may differ."""

    @property
    def quantile(self) -> float | None:
        """The quantile of a latency metric, as a share."""
        return float(self.name.removeprefix("latency-p")) / 100 if self.name.startswith(LATENCY) else None


@dataclass(frozen=True)
class Guard:
    """A bound of the canary's share of bad events."""

    name: str
    bound: float
    slower_than_s: float | None = None
    """Of a latency guard: a request that takes longer is bad."""


@dataclass(frozen=True)
class Policy:
    """How canaries of one InferenceService are decided."""

    steps: tuple[int, ...] = (5, 20, 50, 100)
    """In percent; a first one of 0 is the shadow."""
    metrics: tuple[Metric, ...] = (Metric(ERRORS),)
    guards: tuple[Guard, ...] = ()
    alpha: float = 0.05
    min_requests: int = 100
    max_requests: int = 0
    """0: no end."""
    attempt: str = "1"
    labels_from: tuple[str, ...] = ()
    """Whose labels count, by the names of callers; none: anybody's."""
    reference: str | None = None
    """The InferenceService that a shadowed canary has to agree with; None: the stable revision."""

    @property
    def needs_labels(self) -> bool:
        """Whether predictors have to tell what they predict, so that labels can be joined with it."""
        return QUALITY in [metric.name for metric in self.metrics]

    def of_transformer(self) -> "Policy | None":
        """Return what decides canaries of a transformer, None when nothing that is named can.

        It is judged by what passes through the host: neither by copies nor by labels, both of which are a predictor's.
        """
        metrics = tuple(metric for metric in self.metrics if metric.name not in (QUALITY, AGREEMENT))
        guards = tuple(guard for guard in self.guards if guard.name != AGREEMENT)
        steps = tuple(step for step in self.steps if step)
        return replace(self, steps=steps, metrics=metrics, guards=guards, reference=None) if metrics else None

    @property
    def rollback_alpha(self) -> float:
        """The risk of one metric's or guard's wrong rollback: together they have `alpha`."""
        return self.alpha / max(1, len(self.metrics) + len(self.guards))


def policy_of(annotations: Mapping[str, str]) -> Policy | None:
    """Return the policy; None without one. Raise Refused naming an annotation that cannot be read."""
    mode = annotations.get(PREFIX)
    for name in annotations:
        option = name.removeprefix(f"{PREFIX}-")
        if name.startswith(f"{PREFIX}-") and option not in OPTIONS:
            raise _unreadable(option, annotations[name], f"one of {', '.join(OPTIONS)} after rollout-")
    if mode in (None, "manual"):
        return None
    if mode != "auto":
        raise Refused("InvalidAnnotation", f'annotation {PREFIX} must be "auto" or "manual", got {mode!r}')
    given = {option: annotations.get(f"{PREFIX}-{option}") for option in OPTIONS}
    default = Policy()
    policy = Policy(
        steps=_steps(given["steps"]) if given["steps"] else default.steps,
        metrics=tuple(_metrics(given["metrics"])) if given["metrics"] else default.metrics,
        guards=tuple(_guards(given["guards"])) if given["guards"] else (),
        alpha=_alpha(given["alpha"]) if given["alpha"] else default.alpha,
        min_requests=_number("min-requests", given["min-requests"]) if given["min-requests"] else default.min_requests,
        max_requests=_number("max-requests", given["max-requests"]) if given["max-requests"] else 0,
        attempt=given["attempt"] or default.attempt,
        reference=given["reference"],
        labels_from=tuple(filter(None, (name.strip() for name in (given["labels-from"] or "").split(",")))),
    )
    if policy.reference is not None and not _NAME.fullmatch(policy.reference):
        raise _unreadable("reference", policy.reference, "the name of an InferenceService of this namespace")
    if given["shadow"] not in (None, "true", "false"):
        raise _unreadable("shadow", str(given["shadow"]), '"true" or "false"')
    if given["shadow"] == "true":
        return replace(policy, steps=(0, *policy.steps))
    if AGREEMENT in [metric.name for metric in policy.metrics] + [guard.name for guard in policy.guards]:
        raise Refused("InvalidAnnotation", f'agreement needs copies of requests: annotation {PREFIX}-shadow: "true"')
    if policy.reference is not None:
        raise Refused("InvalidAnnotation", f'a reference needs copies of requests: annotation {PREFIX}-shadow: "true"')
    return policy


def _steps(text: str) -> tuple[int, ...]:
    parts = [part.strip() for part in text.split(",")]
    steps = tuple(int(part) for part in parts if part.isdecimal())
    rising = all(0 < one < two for one, two in itertools.pairwise(steps))
    if len(steps) != len(parts) or not rising or steps[0] < 1 or steps[-1] != 100 or len(steps) < 2:
        raise _unreadable("steps", text, 'rising percentages that end at 100, such as "5,20,50,100"')
    return steps


def _metrics(text: str) -> list[Metric]:
    found = []
    for part in (part.strip() for part in text.split(",")):
        if agreed := _AGREEMENT.fullmatch(part):
            found.append(Metric(AGREEMENT, round(1 - float(agreed[1]), 6)))
            continue
        match = _METRIC.fullmatch(part)
        if match is None:
            raise _unreadable(
                "metrics", text, "error-rate, quality or latency-p99, each alone or with <=+0.01, or agreement>=0.98"
            )
        found.append(Metric(match[1], float(match[2] or 0)))
    if len({metric.name for metric in found}) != len(found):
        raise _unreadable("metrics", text, "each metric once")
    return found


def _guards(text: str) -> list[Guard]:
    found = []
    for part in (part.strip() for part in text.split(",")):
        if agreed := _AGREEMENT.fullmatch(part):
            found.append(Guard(AGREEMENT, round(1 - float(agreed[1]), 6)))
            continue
        match = _GUARD.fullmatch(part)
        if match is None:
            raise _unreadable("guards", text, "error-rate<=0.05, latency-p99<=250ms or agreement>=0.98")
        if match[1]:
            found.append(Guard(match[1], float(match[2])))
        else:
            seconds = float(match[4]) / (1000 if match[5] == "ms" else 1)
            found.append(Guard(f"latency-p{match[3]}<={match[4]}{match[5]}", 1 - float(match[3]) / 100, seconds))
    return found


def _alpha(text: str) -> float:
    try:
        alpha = float(text)
    except ValueError:
        alpha = 0.0
    if not 0 < alpha <= 0.5:
        raise _unreadable("alpha", text, "more than 0 and at most 0.5")
    return alpha


def _number(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise _unreadable(option, text, "a positive number")
    return int(text)


def _unreadable(option: str, text: str, expected: str) -> Refused:
    return Refused("InvalidAnnotation", f"annotation {PREFIX}-{option} is {text!r}, expected {expected}")
