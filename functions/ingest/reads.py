"""Who reads a registered model's bytes straight from the store: a record of the audit trail, before they go out.

An object belongs to a model when a version's model artifact lies at its URI or at a directory above it. Other objects
are read without a trace.
"""

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from zeroflow import callers
from zeroflow.artifacts.uris import URI
from zeroflow.events import FunctionApp
from zeroflow.metadata import audit
from zeroflow.metadata.audit import Origin
from zeroflow.metadata.registry import RegistryArtifact, RegistryContext

VERB = "download"
_MODEL, _VERSION = "model-artifact", "model_version"


def note(app: FunctionApp, uri: URI, size_bytes: int, origin: Origin) -> None:
    """Leave a record for each version whose model this object is, or is a part of."""
    with app.database.reading() as session:
        found = _versions(session, uri)
    if not found:
        return
    with app.transaction() as tx:
        for number, name in found:
            told = {"uri": str(uri), "size_bytes": size_bytes, "through": "/objects"}
            audit.append(tx.session, origin, VERB, (_VERSION, str(number), name), after=told)


def origin(header: Callable[[str], str | None], address: str | None, token: str | None) -> Origin:
    """Return who asks, as far as the host has said so."""
    if caller := callers.proven(token, header):
        return Origin(f"user:{caller.name}", True, address)
    return Origin("anonymous", False, address)


def _versions(session: Session, uri: URI) -> list[tuple[int, str]]:
    parts = uri.key.split("/")
    above = [f"store://{uri.bucket}/{'/'.join(parts[:size])}" for size in range(1, len(parts) + 1)]
    version, model = aliased(RegistryContext), aliased(RegistryContext)
    places = [place for location in above for place in (location, f"{location}/")]
    wanted = (
        select(version.id, model.name, version.name)
        .join(RegistryArtifact, RegistryArtifact.parent_id == version.id)
        .join(model, model.id == version.parent_id)
        .where(RegistryArtifact.uri.in_(places), RegistryArtifact.kind == _MODEL, version.kind == _VERSION)
        .order_by(version.id)
    )
    return [(number, f"{of}/{name}") for number, of, name in session.execute(wanted)]
