"""How many instances a revision should have: Knative's pod autoscaler (KPA) as a plain calculation.

`ScaleSettings` are read from annotations of the revision; `Demand` keeps a window of measured concurrency; `desired`
decides. Nothing here knows processes or clocks: the pool measures and asks at every tick.
Source: knative.dev/serving pkg/autoscaler/scaling, defaults of config-autoscaler.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.serving.labels import AUTOSCALING, PROGRESS_DEADLINE

TARGET_MIN = 0.01

_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_LEGACY = {
    "min-scale": "minScale",
    "max-scale": "maxScale",
    "initial-scale": "initialScale",
    "target-utilization-percentage": "targetUtilizationPercentage",
    "scale-down-delay": "scaleDownDelay",
    "scale-to-zero-pod-retention-period": "scaleToZeroPodRetentionPeriod",
    "target-burst-capacity": "targetBurstCapacity",
    "panic-window-percentage": "panicWindowPercentage",
    "panic-threshold-percentage": "panicThresholdPercentage",
}
_KNOWN = {"class", "metric", "target", "window", "activation-scale", "metric-aggregation-algorithm"} | set(_LEGACY)
KPA = "kpa.autoscaling.knative.dev"


@dataclass(frozen=True)
class ScaleDefaults:
    """What holds where a revision's annotations say nothing (config-autoscaler), and how far they may go."""

    utilization: float = 0.7  # of the target
    concurrency: float = 100.0  # target
    rps: float = 200.0  # target
    burst_capacity: float = 211.0
    window_s: float = 60.0
    panic_window: float = 0.1
    panic_threshold: float = 2.0
    up_rate: float = 1000.0
    down_rate: float = 2.0
    to_zero: bool = True
    retention_s: float = 0.0
    initial_scale: int = 1
    zero_initially: bool = False  # initial-scale may be 0
    min_scale: int = 0
    max_scale: int = 0  # 0 = none
    max_scale_limit: int = 0  # 0 = none
    scale_down_delay_s: float = 0.0


@dataclass(frozen=True)
class ScaleSettings:
    """What the annotations of a revision say, with the host's defaults."""

    target: float = 70.0  # of the metric, for one instance
    utilization: float = 0.7
    metric: str = "concurrency"  # or rps: requests per second
    hard_limit: int = 0  # containerConcurrency; 0 = none
    min_scale: int = 0
    max_scale: int = 0  # 0 = none
    initial_scale: int = 1
    activation_scale: int = 1
    window_s: float = 60.0
    retention_s: float = 0.0
    scale_down_delay_s: float = 0.0
    panic_window: float = 0.1  # of the stable window
    panic_threshold: float = 2.0  # of the instances that are ready
    burst_capacity: float = 211.0  # -1: always buffered; 0: only while nothing runs
    up_rate: float = 1000.0
    down_rate: float = 2.0

    @property
    def share(self) -> float:
        """How many requests at a time one instance should have; only with a hard limit."""
        return self.target if self.metric == "concurrency" else max(1.0, self.hard_limit * self.utilization)

    def buffers(self, ready: int, load: float) -> bool:
        """Return whether the activator holds requests back, and not a queue beside each instance.

        It does while the instances could not take a burst of `burst_capacity` requests on top of the load.
        """
        if ready == 0 or self.burst_capacity < 0 or not self.hard_limit:
            return True
        return self.burst_capacity > 0 and ready * self.hard_limit - self.burst_capacity - load < 0


def settings_of(
    annotations: Mapping[str, str], concurrency: int, defaults: ScaleDefaults = ScaleDefaults()
) -> ScaleSettings:
    """Read the annotations; raise InvalidInput in Knative's words for a bad value."""

    def given(name: str) -> str | None:
        return annotations.get(AUTOSCALING + name, annotations.get(AUTOSCALING + _LEGACY.get(name, name)))

    def whole(name: str, default: int, least: int = 0) -> int:
        written = given(name)
        if written is None:
            return default
        if not written.isdigit() or int(written) < least:
            raise InvalidInput(f"expected {least} <= {written} <= 2147483647: {AUTOSCALING}{name}")
        return int(written)

    def number(name: str, default: float, least: float, most: float = math.inf) -> float:
        written = given(name)
        if written is None:
            return default
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if math.isnan(value) or (most == math.inf and value < least):
            raise InvalidInput(f"invalid value: {written}: {AUTOSCALING}{name}")
        if not least <= value <= most:
            raise InvalidInput(f"expected {least:g} <= {written} <= {most:g}: {AUTOSCALING}{name}")
        return value

    def span(name: str, default: float, least: float, most: float) -> float:
        written = given(name)
        if written is None:
            return default
        value = duration_s(written)
        if value is None:
            raise InvalidInput(f"invalid value: {written}: {AUTOSCALING}{name}")
        if value != int(value):
            raise InvalidInput(f"must be specified with at most second precision: {AUTOSCALING}{name}")
        if not least <= value <= most:
            raise InvalidInput(f"expected {least:g}s <= {written} <= 1h0m0s: {AUTOSCALING}{name}")
        return value

    for key in annotations:
        short = key.removeprefix(AUTOSCALING)
        if short != key and short not in _KNOWN and short not in _LEGACY.values():
            raise InvalidInput(f'invalid key name "{key}": {key}')
    if (scaler := given("class") or KPA) != KPA:
        raise InvalidInput(f"invalid value: {scaler} (this host has {KPA}): {AUTOSCALING}class")
    metric = given("metric") or "concurrency"
    if metric not in ("concurrency", "rps"):
        raise InvalidInput(f"invalid value: {metric} (this host scales on concurrency or rps): {AUTOSCALING}metric")
    low, high = whole("min-scale", defaults.min_scale), whole("max-scale", defaults.max_scale)
    if given("max-scale") is not None and (limit := defaults.max_scale_limit):
        if high > limit:
            raise InvalidInput(f"expected 1 <= {high} <= {limit}: {AUTOSCALING}max-scale")
        if high == 0:
            raise InvalidInput(f"max-scale=0 (unlimited), must be less than {limit}: {AUTOSCALING}max-scale")
    if high and low > high:
        names = f"{AUTOSCALING}max-scale, {AUTOSCALING}min-scale"
        raise InvalidInput(f"max-scale={high} is less than min-scale={low}: {names}")
    by_concurrency = metric == "concurrency"
    total = number("target", float(concurrency or defaults.concurrency) if by_concurrency else defaults.rps, TARGET_MIN)
    if concurrency and by_concurrency:
        total = min(total, concurrency)
    utilization = number("target-utilization-percentage", defaults.utilization * 100, 1.0, 100.0) / 100
    initial = whole("initial-scale", defaults.initial_scale)
    if initial == 0 and not defaults.zero_initially:
        raise InvalidInput(f"invalid value: 0: {AUTOSCALING}initial-scale=0 not allowed by cluster")
    return ScaleSettings(
        target=max(TARGET_MIN, total * utilization),
        metric=metric,
        utilization=utilization,
        hard_limit=concurrency,
        min_scale=low if defaults.to_zero else max(1, low),
        max_scale=high,
        initial_scale=initial,
        activation_scale=whole("activation-scale", 1, least=2),
        window_s=span("window", defaults.window_s, 6, 3600),
        retention_s=span("scale-to-zero-pod-retention-period", defaults.retention_s, 0, 3600),
        scale_down_delay_s=span("scale-down-delay", defaults.scale_down_delay_s, 0, 3600),
        panic_window=number("panic-window-percentage", defaults.panic_window * 100, 1.0, 100.0) / 100,
        panic_threshold=number("panic-threshold-percentage", defaults.panic_threshold * 100, 110.0, 1000.0) / 100,
        burst_capacity=number("target-burst-capacity", defaults.burst_capacity, -1.0),
        up_rate=defaults.up_rate,
        down_rate=defaults.down_rate,
    )


def duration_s(written: str) -> float | None:
    """Return a Go duration such as 1m30s in seconds, None for another notation."""
    match = _DURATION.fullmatch(written)
    if match is None or not written:
        return 0.0 if written == "0" else None
    hours, minutes, seconds, millis = (float(part or 0) for part in match.groups())
    return hours * 3600 + minutes * 60 + seconds + millis / 1000


def progress_deadline_s(annotations: Mapping[str, str], default_s: float) -> float:
    """Return how long an instance may take to become ready; raise InvalidInput in Knative's words for a bad value."""
    written = annotations.get(PROGRESS_DEADLINE)
    if written is None:
        return default_s
    value = duration_s(written)
    if value is None:
        raise InvalidInput(f"invalid value: {written}: {PROGRESS_DEADLINE}")
    if value <= 0 or value != int(value):
        raise InvalidInput(f"{written} must be a positive number of whole seconds: {PROGRESS_DEADLINE}")
    return value


class Demand:
    """The measured concurrency of the last stable window, one average per tick."""

    def __init__(self, settings: ScaleSettings, tick_s: float) -> None:
        self._settings, self._tick_s = settings, tick_s
        self._averages: deque[float] = deque(maxlen=max(1, round(settings.window_s / tick_s)))
        self._panic_length = max(1, round(settings.window_s * settings.panic_window / tick_s))
        self._panic_until_s: float | None = None
        self._panic_scale = 0
        self._decisions: deque[tuple[float, int]] = deque()

    def desired(self, average: float, ready: int, now_s: float) -> int:
        """Add the concurrency of the last tick and return how many instances there should be.

        At least one while there was traffic in the window; the pool alone decides about zero.
        """
        self._averages.append(average)
        stable = sum(self._averages) / len(self._averages)
        recent = list(self._averages)[-self._panic_length :]
        panic = sum(recent) / len(recent)
        base = max(1, ready)
        ceiling = math.ceil(self._settings.up_rate * base)
        floor = math.floor(ready / self._settings.down_rate)
        wanted_stable = min(max(math.ceil(stable / self._settings.target), floor), ceiling)
        wanted_panic = min(max(math.ceil(panic / self._settings.target), floor), ceiling)
        if wanted_panic / base >= self._settings.panic_threshold:
            if self._panic_until_s is None:
                self._panic_scale = ready
            self._panic_until_s = now_s + self._settings.window_s
        elif self._panic_until_s is not None and now_s >= self._panic_until_s:
            self._panic_until_s = None
        if self._panic_until_s is not None:  # panic never scales down
            self._panic_scale = max(self._panic_scale, wanted_panic, wanted_stable)
            wanted = self._panic_scale
        else:
            wanted = wanted_stable
        if wanted > 0:
            wanted = max(wanted, self._settings.activation_scale)
        return bounded(self._settings, self._delayed(wanted, now_s))

    def _delayed(self, wanted: int, now_s: float) -> int:
        """Return the largest decision of the last scale-down-delay."""
        if not self._settings.scale_down_delay_s:
            return wanted
        self._decisions.append((now_s, wanted))
        while self._decisions[0][0] < now_s - self._settings.scale_down_delay_s:
            self._decisions.popleft()
        return max(decision for _, decision in self._decisions)


def bounded(settings: ScaleSettings, wanted: int) -> int:
    """Apply min-scale and max-scale."""
    wanted = max(wanted, settings.min_scale)
    return min(wanted, settings.max_scale) if settings.max_scale else wanted
