"""Approval of model versions: draft -> pending -> approved or rejected -> archived, checked wherever a version changes.

The state is the custom property `approval.state`, which every official client shows and may ask to change; all
properties below `approval.` are the server's own, and a change that does not fit the policy is refused whichever way
it comes. Models that no policy names know none of this.

An approval is for bytes: `approval.content` is a hash over location and sha256 of the version's model artifacts. When
those change, the version is a draft again, and a deployment compares the bytes that it loads. The same happens when the
evidence that the policy asked for goes away after the approval.

A policy also takes in the versions that are there already: whatever they claim, they are drafts from then on.
"""

import hashlib
from typing import Any

from sqlalchemy import select

from zeroflow.errors import Conflict, Forbidden, InvalidInput
from zeroflow.functions.register import lookup, properties, registration, signatures
from zeroflow.functions.register.documents import Document, Row
from zeroflow.functions.register.entities import (
    DATASET_ARTIFACT,
    DOC_ARTIFACT,
    METRIC,
    MODEL_VERSION,
    REGISTERED_MODEL,
)
from zeroflow.functions.register.policy import Approval
from zeroflow.functions.register.properties import MAX_TEXT, WireProperties
from zeroflow.functions.register.signatures import SIGNATURE
from zeroflow.functions.register.writing import Writing
from zeroflow.metadata.registry import GovernedVersion, RegistryArtifact, RegistryContext

PREFIX = "approval."
STATE, REASON = "approval.state", "approval.reason"
CONTENT, REGISTERED_BY, SUBMITTED_BY = "approval.content", "approval.registered_by", "approval.submitted_by"
DECIDED_BY, DECIDED_MS = "approval.decided_by", "approval.decided_ms"

_BATCH = 400
_GONE = ("MARKED_FOR_DELETION", "DELETED", "ABANDONED")
"""States of an artifact that no longer counts as evidence."""

TRANSITIONS = {
    "draft": ("pending", "archived"),
    "pending": ("approved", "rejected", "draft", "archived"),
    "approved": ("archived",),
    "rejected": ("draft", "pending", "archived"),
    "archived": ("draft",),
}


def enroll(writing: Writing) -> None:
    """Make drafts of the versions of governed models that were made before the policy named their models."""
    session = writing.session
    models = session.execute(select(RegistryContext.id, RegistryContext.name).filter_by(kind=REGISTERED_MODEL.kind))
    governed = [number for number, name in models if writing.policy.approval(name) is not None]
    for at in range(0, len(governed), _BATCH):
        waiting = select(RegistryContext).where(
            RegistryContext.kind == MODEL_VERSION.kind,
            RegistryContext.parent_id.in_(governed[at : at + _BATCH]),
            RegistryContext.id.not_in(select(GovernedVersion.version_id)),
        )
        for version in session.scalars(waiting).all():
            _restart(writing, version, "enrolled", None, "unknown")
            keep(writing, version)


def keep(writing: Writing, version: RegistryContext) -> None:
    """Note that this version's approval is the server's."""
    writing.session.add(GovernedVersion(version_id=version.id, since_ms=version.updated_ms))
    writing.session.flush()


def begin(writing: Writing, model: RegistryContext, version: Row) -> bool:
    """Make a new version of a governed model a draft; a body that claims more is refused. Say whether it is one."""
    if writing.policy.approval(model.name) is None:
        return False
    claimed = [name for name in version.custom_properties if name.startswith(PREFIX)]
    if claimed and properties.text(version.custom_properties, STATE) != "draft":
        raise Forbidden(f"{claimed[0]}: a new version of {model.name!r} is a draft; it is approved by its own rules")
    kept = {name: value for name, value in version.custom_properties.items() if not name.startswith(PREFIX)}
    version.custom_properties = kept | properties.wire({STATE: "draft", REGISTERED_BY: writing.origin.actor})
    return True


def guard(writing: Writing, version: RegistryContext, document: Document) -> None:
    """Check what a change asks of the approval, and put the server's own properties into the document."""
    model = lookup.get_model(writing.session, version.parent_id)
    rule = writing.policy.approval(model.name)
    if rule is None or document.custom_properties is None:
        return
    own = _own(version.custom_properties) or properties.wire({STATE: "draft"})
    asked = _own(document.custom_properties)
    for name, value in asked.items():
        if name not in (STATE, REASON) and own.get(name) != value:
            raise Forbidden(f"{name} is written by the server only; ask for a change of {STATE}")
    if STATE in asked and _state(asked) is None:
        raise InvalidInput(f"{STATE} must be a MetadataStringValue")
    state = _state(own) or "draft"
    wanted = _state(asked) or state
    if wanted != state:
        own = _moved(writing, rule, model, version, own, wanted, properties.text(asked, REASON))
    others = {name: value for name, value in document.custom_properties.items() if not name.startswith(PREFIX)}
    document.custom_properties = others | own


def recheck(writing: Writing, version: RegistryContext) -> None:
    """Make a version a draft again when its bytes are not those submitted, or what it was approved on is gone."""
    stated = properties.text(version.custom_properties, CONTENT)
    if stated is None or writing.session.get(GovernedVersion, version.id) is None:
        return
    state = _state(version.custom_properties) or "draft"
    reason = None
    if stated != content(lookup.model_artifacts(writing.session, version)):
        reason = f"the model's bytes changed while it was {state}"
    elif state == "approved":
        rule = writing.policy.approval(lookup.get_model(writing.session, version.parent_id).name)
        try:
            if rule is not None:
                _check_evidence(writing, rule, version)
        except Conflict as missing:
            reason = f"after the approval: {missing}"
    if reason is not None:
        if state == "approved":
            _revoke(writing, version, reason)
        registered_by = properties.text(version.custom_properties, REGISTERED_BY) or writing.origin.actor
        _restart(writing, version, "reset", reason, registered_by)


def _restart(writing: Writing, version: RegistryContext, verb: str, reason: str | None, registered_by: str) -> None:
    """Make a version a draft, and leave a record."""
    from zeroflow.functions.register.registry import reindex

    before = _own(version.custom_properties)
    kept = {name: value for name, value in version.custom_properties.items() if not name.startswith(PREFIX)}
    told = {STATE: "draft", REGISTERED_BY: registered_by} | ({REASON: reason} if reason else {})
    version.custom_properties = kept | properties.wire(told)
    version.updated_ms = writing.tick()
    writing.session.flush()
    reindex(writing.session, MODEL_VERSION, version)
    entity = (MODEL_VERSION.kind, str(version.id), version.name)
    writing.audit(f"approval.{verb}", entity, before, told)


def _revoke(writing: Writing, version: RegistryContext, reason: str) -> None:
    """Tell those who serve the version that it is approved no longer."""
    model = lookup.get_model(writing.session, version.parent_id)
    for artifact in lookup.model_artifacts(writing.session, version):
        registration.announce_revocation(writing.tx, model, version, artifact, reason)


def content(artifacts: list[RegistryArtifact]) -> str:
    """Hash which bytes a version's model artifacts stand for."""
    lines = [f"{registration.sha256_of(one)}  {one.uri}\n" for one in artifacts]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _moved(
    writing: Writing,
    rule: Approval,
    model: RegistryContext,
    version: RegistryContext,
    own: WireProperties,
    wanted: str,
    reason: str | None,
) -> WireProperties:
    state = _state(own) or "draft"
    if wanted not in TRANSITIONS:
        raise InvalidInput(f"{STATE} must be one of {', '.join(TRANSITIONS)}, got {wanted[:40]!r}")
    if wanted not in TRANSITIONS[state]:
        raise Conflict(f"a version that is {state} cannot become {wanted}; it can become {_or(TRANSITIONS[state])}")
    artifacts = lookup.model_artifacts(writing.session, version)
    actor = writing.origin.actor
    told: dict[str, str | int | float | bool] = {STATE: wanted}
    keep = [REGISTERED_BY]
    if wanted == "pending":
        _check_known(writing)
        _check_hashed(artifacts)
        told |= {CONTENT: content(artifacts), SUBMITTED_BY: actor}
    elif wanted in ("approved", "rejected"):
        _check_decider(writing, rule, own)
        if wanted == "approved":
            _check_evidence(writing, rule, version)
        keep += [CONTENT, SUBMITTED_BY]
        told |= {DECIDED_BY: actor, DECIDED_MS: version.updated_ms}
    if reason:
        told[REASON] = reason[:MAX_TEXT]
    entity = (MODEL_VERSION.kind, str(version.id), version.name)
    writing.audit(f"approval.{wanted}", entity, {STATE: state}, told)
    if state == "approved":
        _revoke(writing, version, f"{actor} made it {wanted}")
    if wanted == "approved":
        for artifact in artifacts:
            registration.announce_approval(writing.tx, model, version, artifact, actor)
    return {name: own[name] for name in keep if name in own} | properties.wire(told)


def _check_known(writing: Writing) -> None:
    if not writing.origin.authenticated:
        raise Forbidden("who is asking? Send the bearer token of an identity that the approval policy names")


def _check_decider(writing: Writing, rule: Approval, own: WireProperties) -> None:
    _check_known(writing)
    actor = writing.origin.actor
    if rule.approvers and actor.removeprefix("user:") not in rule.approvers:
        raise Forbidden(f"{actor} may not decide on this model; the policy names {_or(rule.approvers)}")
    involved = {properties.text(own, REGISTERED_BY), properties.text(own, SUBMITTED_BY)}
    if rule.four_eyes and actor in involved:
        raise Forbidden(f"{actor} registered or submitted this version; the policy wants a second pair of eyes")


def _check_hashed(artifacts: list[RegistryArtifact]) -> None:
    if not artifacts:
        raise Conflict("the version has no model artifact yet: there is nothing to approve")
    for artifact in artifacts:
        if registration.sha256_of(artifact) is None or not artifact.uri:
            raise Conflict(
                f"model artifact {artifact.name!r} states no uri with custom property sha256 (64 hexadecimal digits): "
                "an approval is for bytes"
            )


def _check_evidence(writing: Writing, rule: Approval, version: RegistryContext) -> None:
    found = writing.session.scalars(select(RegistryArtifact).where(RegistryArtifact.parent_id == version.id))
    below = [one for one in found if one.state not in _GONE]
    metrics: dict[str, Any] = {one.name: one.fields.get("value") for one in below if one.kind == METRIC.kind}
    names = {one.name for one in below if one.kind in (DOC_ARTIFACT.kind, DATASET_ARTIFACT.kind)}
    for name in rule.artifacts:
        if name not in names:
            raise Conflict(
                f"the policy asks for a doc- or dataset-artifact {name!r} under the version, and there is none"
            )
    if rule.signed_by:
        documents = [one for one in below if one.kind == DOC_ARTIFACT.kind and one.name == SIGNATURE and one.uri]
        signatures.check(rule.signed_by, documents, lookup.model_artifacts(writing.session, version), writing.policy)
    for name, bounds in rule.metrics.items():
        value = metrics.get(name)
        if value is None:
            raise Conflict(f"the policy asks for metric {name!r}, and the version has none")
        if not bounds.min <= value <= bounds.max:
            raise Conflict(f"metric {name!r} is {value}; the policy asks for {bounds.min} to {bounds.max}")


def _own(of: WireProperties) -> WireProperties:
    return {name: value for name, value in of.items() if name.startswith(PREFIX)}


def _state(of: WireProperties) -> str | None:
    return properties.text(of, STATE)


def _or(names: tuple[str, ...]) -> str:
    return " or ".join(names)
