"""A look at the model before a revision is made for it: is it there, is it served, who vouches for its bytes.

What lies in the local store is identified and hashed where it lies; the revision then serves exactly those bytes.
What lies in S3 is not downloaded for a look: a recorded hash is passed on if there is one. In both cases the
predictor checks the bytes that it loads itself, so nothing here is a door that can be raced.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from zeroflow.artifacts import Stores, content
from zeroflow.errors import NotFound, ZeroflowError
from zeroflow.functions.inference import approvals
from zeroflow.functions.inference.refusal import Refused
from zeroflow.functions.inference.spec import PredictorSpec
from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact
from zeroflow.models import formats, trust
from zeroflow.models.errors import CorruptModel, FormatNotSupported
from zeroflow.models.trust import TRUST_ANNOTATION, Word

VOUCHING = ("run/", "registration/")
"""Records of who counts: an authenticated run or registration. An upload's hash says only what was uploaded."""


def inspect(spec: PredictorSpec, owner: str, stores: Stores, database: Database) -> Word:
    """Return what the predictor is to be told of the model's bytes; raise Refused when it cannot be served."""
    approved = approvals.approved_bytes(spec.storage_uri, database)
    try:
        path = stores.local_path(spec.storage_uri)
        if path is None and not stores.exists(spec.storage_uri):
            raise NotFound(f"there is nothing at {spec.storage_uri}")
        word = _local(spec, owner, path, database) if path is not None else _remote(spec, owner, database)
    except NotFound as error:
        raise Refused("ModelNotFound", str(error), "ModelLoadFailed") from error
    except FormatNotSupported as error:
        raise Refused(error.reason, str(error), "NoSupportingRuntime") from error
    except ZeroflowError as error:
        if error.reason == "Unavailable":  # the store may answer later
            raise
        raise Refused(error.reason, str(error), "ModelLoadFailed") from error
    return word if approved is None else approvals.bound(word, approved, spec.storage_uri, path)


def _local(spec: PredictorSpec, owner: str, path: Path, database: Database) -> Word:
    model = formats.find_model(path, spec.model_format)
    whole = content.of(path).sha256
    hashes = [whole] if model.path == path else [whole, content.of(model.path).sha256]
    with database.reading() as session:
        recorded = _recorded(session, Artifact.sha256.in_(hashes))
        stored_here = _recorded(session, Artifact.uri == spec.storage_uri)
    word = Word(recorded[0].sha256, recorded[0].recorded_by) if recorded else Word(whole, _owner_word(spec, owner))
    if not recorded and stored_here and model.is_pickle and not spec.trusts_pickle:
        raise CorruptModel(
            f"the bytes at {spec.storage_uri} (sha256 {whole}) are not those that {stored_here[0].recorded_by} "
            f"recorded (sha256 {stored_here[0].sha256}): they were changed"
        )
    trust.check(path, model, word)
    return word


def _remote(spec: PredictorSpec, owner: str, database: Database) -> Word:
    with database.reading() as session:
        recorded = _recorded(session, Artifact.uri == spec.storage_uri)
    if recorded:
        return Word(recorded[0].sha256, recorded[0].recorded_by)
    return Word(None, _owner_word(spec, owner))


def _recorded(session: Session, condition: Any) -> Sequence[Artifact]:
    """Return the artifacts whose hash an authenticated run or registration recorded, newest first."""
    found = session.scalars(
        select(Artifact).where(condition, Artifact.sha256.is_not(None)).order_by(Artifact.created_ms.desc())
    )
    return [artifact for artifact in found if artifact.recorded_by.startswith(VOUCHING)]


def _owner_word(spec: PredictorSpec, owner: str) -> str | None:
    return f"{owner} ({TRUST_ANNOTATION})" if spec.trusts_pickle else None
