"""Runs that make a version once more: what came out is noted with the version, and is no version of its own.

A run says so in its description, `zeroflow.dev/reproduces: <version id>`. The record in the audit trail tells the run,
the model's hash, its metrics and the hashes of what the task read; an edge leads from the version to the run.
"""

import re

from sqlalchemy.orm import Session

from zeroflow.functions.register.entities import MODEL_VERSION
from zeroflow.functions.register.produced import ModelProduced
from zeroflow.functions.register.registration import link
from zeroflow.functions.register.writing import Writing
from zeroflow.metadata.pipelines import Run
from zeroflow.metadata.registry import RegistryContext

_MARK = re.compile(r"^zeroflow\.dev/reproduces: ([0-9]{1,10})$", re.MULTILINE)


def reproduced(session: Session, produced: ModelProduced) -> RegistryContext | None:
    """Return the version that a run reproduces; None when it does not, or names a version of another model."""
    run = session.get(Run, produced.maker.run_id) if produced.maker.run_id else None
    match = _MARK.search(run.description) if run is not None else None
    version = session.get(RegistryContext, int(match[1])) if match else None
    if version is None or version.kind != MODEL_VERSION.kind:
        return None
    model = session.get(RegistryContext, version.parent_id)
    return version if model is not None and model.name == produced.register_as else None


def note(writing: Writing, version: RegistryContext, produced: ModelProduced) -> None:
    """Note what a reproduction made."""
    told = {
        "run_id": produced.maker.run_id,
        "sha256": produced.sha256,
        "uri": produced.uri,
        "metrics": dict(produced.metrics),
        "inputs": {source.name: source.sha256 for source in produced.inputs},
    }
    writing.audit("reproduce", (MODEL_VERSION.kind, str(version.id), version.name), None, told)
    link(
        writing.session,
        "reproduced",
        (MODEL_VERSION.kind, str(version.id)),
        ("run", str(told["run_id"])),
        writing.origin,
    )
