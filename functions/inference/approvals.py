"""Approved versions only: where the registry asks for an approval, bytes without one are not served.

A version that is under an approval policy has the custom property `approval.state` (the register function writes it
and lets nobody else). A version without that property needs no approval. What was approved is the sha256 that its model
artifact states; the predictor checks the bytes that it loads against it.
"""

from pathlib import Path

from sqlalchemy import ColumnElement, select

from zeroflow.artifacts import content
from zeroflow.functions.inference.refusal import Refused
from zeroflow.metadata import Database
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext, RegistryContextProperty
from zeroflow.models.trust import Word

STATE = "approval.state"


def deployable() -> ColumnElement[bool]:
    """Return the condition that a version needs no approval or has it."""
    return ~(
        select(RegistryContextProperty.owner_id)
        .where(
            RegistryContextProperty.owner_id == RegistryContext.id,
            RegistryContextProperty.name == STATE,
            RegistryContextProperty.string_value != "approved",
        )
        .exists()
    )


def approved_bytes(uri: str, database: Database) -> frozenset[str] | None:
    """Return the hashes that are approved at a location; None when it needs no approval. Raise Refused without one."""
    found = (
        select(RegistryContext.name, RegistryContext.custom_properties, RegistryArtifact.custom_properties)
        .join(RegistryArtifact, RegistryArtifact.parent_id == RegistryContext.id)
        .where(
            RegistryContext.kind == "model_version",
            RegistryArtifact.kind == "model-artifact",
            RegistryArtifact.uri == uri,
        )
    )
    with database.reading() as session:
        rows = [
            (name, _text(version, STATE), _text(artifact, "sha256"))
            for name, version, artifact in session.execute(found)
        ]
    governed = [row for row in rows if row[1] is not None]
    if not governed:
        return None
    hashes = frozenset(sha256.lower() for _, state, sha256 in governed if state == "approved" and sha256)
    if not hashes:
        states = ", ".join(f"version {name} is {state}" for name, state, _ in governed)
        raise Refused("NotApproved", f"the model at {uri} needs an approval before it is served: {states}")
    return hashes


def bound(word: Word, approved: frozenset[str], uri: str, path: Path | None) -> Word:
    """Return the word for bytes that are approved; raise Refused when those at the location are others."""
    found = content.of(path).sha256 if path is not None else word.sha256
    if found in approved:
        return Word(found, word.by)
    if path is None and len(approved) == 1:  # nobody has looked at them yet: the predictor does
        return Word(next(iter(approved)), word.by)
    raise Refused(
        "NotApproved",
        f"the bytes at {uri} (sha256 {found}) are not those that were approved (sha256 {', '.join(sorted(approved))})",
    )


def _text(properties: dict[str, dict[str, object]], name: str) -> str | None:
    value = properties.get(name, {}).get("string_value")
    return value if isinstance(value, str) else None
