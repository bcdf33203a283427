"""Conditions of Configuration, Revision and Route, with Knative's reasons and messages.

Source: knative.dev/serving pkg/apis/serving/v1/{revision,configuration,route,service}_lifecycle.
"""

from __future__ import annotations

from dataclasses import dataclass

from zeroflow.knative.local.serving.conditions import Condition, false, summary, unknown
from zeroflow.knative.local.serving.pool import Pool

RESOURCES, HEALTHY, ACTIVE = "ResourcesAvailable", "ContainerHealthy", "Active"
RESOURCE_REASONS = ("ProgressDeadlineExceeded", "CreateContainerConfigError", "InvalidInput", "Unavailable")


@dataclass(frozen=True)
class Seen:
    """What a pool was like when a reconciliation began: all that it writes tells the same story."""

    conditions: tuple[Condition, ...]
    ready: Condition
    proven: bool
    failed: bool
    actual: int
    desired: int


def look(pool: Pool) -> Seen:
    """Return the conditions and numbers of a revision as its pool has them now."""
    given = [*_deployed(pool), _active(pool)]
    return Seen(tuple(given), summary(given), pool.proven, pool.failure is not None, pool.ready, pool.desired)


def _deployed(pool: Pool) -> list[Condition]:
    failure = pool.failure
    if failure is not None and pool.crash_looping:
        if failure.reason in RESOURCE_REASONS:
            return [false(RESOURCES, failure.reason, failure.message), unknown(HEALTHY, "Deploying")]
        return [Condition(RESOURCES), false(HEALTHY, failure.reason, failure.message)]
    if pool.proven:
        return [Condition(RESOURCES), Condition(HEALTHY)]
    return [unknown(RESOURCES, "Deploying"), unknown(HEALTHY, "Deploying")]


def _active(pool: Pool) -> Condition:
    if pool.ready:
        return Condition(ACTIVE, info=True)
    if pool.starting:
        message = "Requests to the target are being buffered as resources are provisioned."
        return unknown(ACTIVE, "Queued", message, info=True)
    return false(ACTIVE, "NoTraffic", "The target is not receiving traffic.", info=True)


def configuration(revision_name: str, newest: Condition) -> list[Condition]:
    """Return what the newest revision's Ready says about its Configuration (as a condition named Ready)."""
    if newest.status == "False":
        message = f'Revision "{revision_name}" failed with message: {newest.message}.'
        return [false("Ready", "RevisionFailed", message)]
    return [Condition("Ready") if newest.status == "True" else unknown("Ready")]


def no_latest(name: str, config: Condition) -> Condition:
    """Return why traffic to the latest revision has nowhere to go."""
    if config.status == "False":
        return false(
            "AllTrafficAssigned", "RevisionMissing", f'Configuration "{name}" does not have any ready Revision.'
        )
    message = f'Configuration "{name}" is waiting for a Revision to become ready.'
    return unknown("AllTrafficAssigned", "RevisionMissing", message)


def no_configuration(name: str) -> Condition:
    """Return that a Configuration does not exist."""
    return false(
        "AllTrafficAssigned", "ConfigurationMissing", f'Configuration "{name}" referenced in traffic not found.'
    )


def not_owned(kind: str, name: str) -> Condition:
    """Return that a part of a Service belongs to somebody else."""
    type_ = "ConfigurationsReady" if kind == "Configuration" else "RoutesReady"
    return false(type_, "NotOwned", f'There is an existing {kind} "{name}" that we do not own.')


def missing(name: str) -> Condition:
    """Return that a named revision does not exist."""
    return false("AllTrafficAssigned", "RevisionMissing", f'Revision "{name}" referenced in traffic not found.')


def not_ready(name: str, condition: Condition) -> Condition:
    """Return that a named revision cannot take traffic."""
    if condition.status == "False":
        return false("AllTrafficAssigned", "RevisionMissing", f'Revision "{name}" failed to become ready.')
    return unknown("AllTrafficAssigned", "RevisionMissing", f'Revision "{name}" is not yet ready.')


def name_taken(name: str) -> Condition:
    """Return that the user's revision name belongs to a revision with another spec."""
    message = f'The revision name "{name}" is taken by a conflicting Revision, so traffic will not be migrated'
    return false("RoutesReady", "RevisionNameTaken", message)


def no_certificate() -> Condition:
    """Return the condition of a route on a host that serves plain HTTP."""
    return Condition("CertificateProvisioned", "True", "TLSNotEnabled", "autoTLS is not enabled")
