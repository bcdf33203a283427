"""A look at the model before a revision is made for it: is it there, is it served, who vouches for its bytes.

What lies in the local store is identified and hashed where it lies; the revision then serves exactly those bytes.
What lies elsewhere is not downloaded for a look: a recorded hash is passed on if there is one. In both cases the
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
from zeroflow.functions.inference.containers import Platform
from zeroflow.functions.inference.location import Location
from zeroflow.functions.inference.modelspec import Model
from zeroflow.functions.inference.refusal import Refused
from zeroflow.metadata import Database
from zeroflow.metadata.artifacts import Artifact
from zeroflow.models import directories, trust
from zeroflow.models.errors import CorruptModel, FormatNotSupported
from zeroflow.models.formats import TRITON
from zeroflow.models.trust import Word

VOUCHING = ("run/", "registration/")
"""Records of who counts: an authenticated run or registration. An upload's hash says only what was uploaded."""


def inspect(
    model: Model,
    place: Location,
    own_word: str | None,
    platform: Platform,
    database: Database,
    is_directory_of_models: bool = False,
) -> Word:
    """Return what the predictor is to be told of the model's bytes; raise Refused when it cannot be served.

    `own_word`: who vouches for whatever lies there, if somebody does.
    """
    approved = approvals.approved_bytes(place.uri, database)
    stores = Stores(Path(platform.store), environment={**platform.storage, **place.access.values})
    if place.uri.startswith("pvc://"):  # only the predictor's pod has it mounted
        return _remote(place.uri, own_word, database)
    own_word = own_word or _operators_word(place.uri, platform)
    try:
        path = stores.local_path(place.uri)
        if path is None and not stores.exists(place.uri):
            raise NotFound(f"there is nothing at {place.uri}")
        if is_directory_of_models or model.format == TRITON:  # each is looked at by the predictor, as it is loaded
            word = Word(None, own_word)
        elif path is not None:
            word = _local(model, place.uri, own_word, path, database)
        else:
            word = _remote(place.uri, own_word, database)
    except NotFound as error:
        raise Refused("ModelNotFound", str(error), "ModelLoadFailed") from error
    except FormatNotSupported as error:
        raise Refused(error.reason, str(error), "NoSupportingRuntime") from error
    except ZeroflowError as error:
        if error.reason == "Unavailable":
            raise Refused("StorageUnavailable", str(error), "ModelLoadFailed", passing=True) from error
        raise Refused(error.reason, str(error), "ModelLoadFailed") from error
    return word if approved is None else approvals.bound(word, approved, place.uri, path)


def _operators_word(uri: str, platform: Platform) -> str | None:
    """Return the operator's word for a location, where there is one; a beginning ends at a slash."""
    trusted = any(uri.startswith(prefix if prefix.endswith("/") else f"{prefix}/") for prefix in platform.trusted)
    return "the operator (ZEROFLOW_TRUSTED_MODELS)" if trusted else None


def _local(model: Model, uri: str, own_word: str | None, path: Path, database: Database) -> Word:
    found = directories.find_model(path, model.format)
    whole = content.of(path).sha256
    hashes = [whole] if found.path == path else [whole, content.of(found.path).sha256]
    with database.reading() as session:
        recorded = _recorded(session, Artifact.sha256.in_(hashes))
        stored_here = _recorded(session, Artifact.uri == uri)
    word = Word(recorded[0].sha256, recorded[0].recorded_by) if recorded else Word(whole, own_word)
    if not recorded and stored_here and found.is_pickle and own_word is None:
        raise CorruptModel(
            f"the bytes at {uri} (sha256 {whole}) are not those that {stored_here[0].recorded_by} "
            f"recorded (sha256 {stored_here[0].sha256}): they were changed"
        )
    trust.check(path, found, word)
    return word


def _remote(uri: str, own_word: str | None, database: Database) -> Word:
    with database.reading() as session:
        recorded = _recorded(session, Artifact.uri == uri)
    return Word(recorded[0].sha256, recorded[0].recorded_by) if recorded else Word(None, own_word)


def _recorded(session: Session, condition: Any) -> Sequence[Artifact]:
    """Return the artifacts whose hash an authenticated run or registration recorded, newest first."""
    found = session.scalars(
        select(Artifact).where(condition, Artifact.sha256.is_not(None)).order_by(Artifact.created_ms.desc())
    )
    return [artifact for artifact in found if artifact.recorded_by.startswith(VOUCHING)]
