"""ConfigMap `config-autoscaler`: what a revision's annotations leave open. Source: pkg/autoscaler/config."""

from __future__ import annotations

from dataclasses import replace

from zeroflow.knative.local.serving.configuration.reading import Data, check
from zeroflow.knative.local.serving.scaling import KPA, TARGET_MIN, ScaleDefaults


def read(data: Data, base: ScaleDefaults) -> ScaleDefaults:
    """Return the defaults of the autoscaler; raise InvalidInput in Knative's words for a bad value."""
    utilization = data.number("container-concurrency-target-percentage", base.utilization)
    if utilization > 1.0:
        utilization /= 100
    panic_window = data.number("panic-window-percentage", base.panic_window * 100)
    found = replace(
        base,
        utilization=utilization,
        concurrency=data.number("container-concurrency-target-default", base.concurrency),
        rps=data.number("requests-per-second-target-default", base.rps),
        burst_capacity=data.number("target-burst-capacity", base.burst_capacity),
        window_s=data.span_s("stable-window", base.window_s),
        panic_window=panic_window / 100,
        panic_threshold=data.number("panic-threshold-percentage", base.panic_threshold * 100) / 100,
        up_rate=data.number("max-scale-up-rate", base.up_rate),
        down_rate=data.number("max-scale-down-rate", base.down_rate),
        to_zero=data.flag("enable-scale-to-zero", default=base.to_zero),
        retention_s=data.span_s("scale-to-zero-pod-retention-period", base.retention_s),
        initial_scale=data.whole("initial-scale", base.initial_scale),
        zero_initially=data.flag("allow-zero-initial-scale", default=base.zero_initially),
        min_scale=data.whole("min-scale", base.min_scale),
        max_scale=data.whole("max-scale", base.max_scale),
        max_scale_limit=data.whole("max-scale-limit", base.max_scale_limit),
        scale_down_delay_s=data.span_s("scale-down-delay", base.scale_down_delay_s),
    )
    grace_s, capacity = data.span_s("scale-to-zero-grace-period", 30.0), data.number("activator-capacity", 100.0)
    check(grace_s > 0, f"scale-to-zero-grace-period must be positive, was: {grace_s:g}s")
    check(capacity >= 1, f"activator-capacity = {capacity:g}, must be at least 1")
    scaler = data.text("pod-autoscaler-class", KPA)
    check(scaler == KPA, f"pod-autoscaler-class = {scaler}: this host has {KPA}")
    _check_times(found, base.window_s)
    _check_targets(found, panic_window)
    _check_scales(found)
    return found


def _check_times(found: ScaleDefaults, own_window_s: float) -> None:
    delay_s, window_s, retention_s = found.scale_down_delay_s, found.window_s, found.retention_s
    check(delay_s >= 0, f"scale-down-delay cannot be negative, was: {delay_s:g}s")
    whole = "must be specified with at most second precision"
    check(delay_s == int(delay_s), f"scale-down-delay = {delay_s:g}s, {whole}")
    check(retention_s >= 0, f"scale-to-zero-pod-retention-period cannot be negative, was: {retention_s:g}s")
    if window_s != own_window_s:  # `zeroflow up --stable-window` may be shorter
        check(6 <= window_s <= 3600, f"stable-window = {window_s:g}s, must be in [6s; 1h0m0s] range")
        check(window_s == int(window_s), f"stable-window = {window_s:g}s, {whole}")


def _check_targets(found: ScaleDefaults, panic_window: float) -> None:
    utilization, burst = found.utilization, found.burst_capacity
    named = "container-concurrency-target-percentage"
    check(0 < utilization <= 1, f"{named} = {utilization:f} is outside of valid range of (0, 100]")
    least = utilization * found.concurrency
    said = f"{named} and container-concurrency-target-default yield target concurrency of {least:g}"
    check(least >= TARGET_MIN, f"{said}, can't be less than {TARGET_MIN}")
    said = f"requests-per-second-target-default must be at least {TARGET_MIN}, was: {found.rps:g}"
    check(found.rps >= TARGET_MIN, said)
    said = f"target-burst-capacity must be either non-negative or -1 (for unlimited), was: {burst:f}"
    check(burst >= 0 or burst == -1, said)
    check(found.up_rate > 1, f"max-scale-up-rate = {found.up_rate:g}, must be greater than 1.0")
    check(found.down_rate > 1, f"max-scale-down-rate = {found.down_rate:g}, must be greater than 1.0")
    said = f"panic-window-percentage = {panic_window:g}, must be in [1, 100] interval"
    check(1 <= panic_window <= 100, said)


def _check_scales(found: ScaleDefaults) -> None:
    initial, most, limit = found.initial_scale, found.max_scale, found.max_scale_limit
    said = f"initial-scale = {initial}, must be at least 0 (or at least 1 when allow-zero-initial-scale is false)"
    check(initial > 0 or (initial == 0 and found.zero_initially), said)
    check(limit >= 0, f"max-scale-limit = {limit}, must be at least 0")
    least = 1 if limit else 0
    said = f"max-scale = {most}, must be in [{least}, max-scale-limit({limit})] range"
    check(most >= least and (not limit or most <= limit), said)
    check(found.min_scale >= 0, f"min-scale = {found.min_scale}, must be at least 0")
