"""Whose word allows a pickle to be loaded.

Unpickling runs whatever the file's author wrote into it, so a pickle is loaded only when its bytes are those that
somebody accountable named: a run or a registration that recorded their hash, or the owner of the resource that serves
it. The hash is checked on a private copy, the very bytes that are then loaded, so that nobody can exchange them in
between.
"""

from dataclasses import dataclass
from pathlib import Path

from zeroflow.artifacts import content
from zeroflow.models.errors import NotApproved, NotVouched
from zeroflow.models.formats import ModelFile

TRUST_ANNOTATION = "zeroflow.dev/trust-pickle"


@dataclass(frozen=True)
class Word:
    """What is known of a model's bytes before they are read."""

    sha256: str | None = None
    """Content hash (zeroflow.artifacts.content) of the location or of the model file in it; None when unknown."""
    by: str | None = None
    """Who vouches for it: `run/<id>/<task>`, `registration/...` or the resource that says so; None: nobody."""


def check(root: Path, model: ModelFile, word: Word) -> str:
    """Return the hash of the bytes at `root`; raise NotApproved for another one, NotVouched when a word is missing."""
    whole = content.of(root).sha256
    hashes = {whole} if model.path == root else {whole, content.of(model.path).sha256}
    if word.sha256 is not None and word.sha256 not in hashes:
        raise NotApproved(
            f"{model.path.name} is not what was approved: its sha256 is {whole}, expected {word.sha256}; "
            "store new bytes under a new location"
        )
    if model.is_pickle and word.by is None:
        raise NotVouched(
            f"{model.path.name} is a {model.what}, which runs code when it is loaded, and nobody vouches for its bytes "
            f"(sha256 {whole}): produce it in a pipeline run, register it, save it with skops, or annotate the "
            f'InferenceService or TrainedModel with {TRUST_ANNOTATION}: "true"'
        )
    return whole
