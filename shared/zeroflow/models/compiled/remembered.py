"""Models that were compiled, and found to answer the same, before: loaded again, they need no scikit-learn.

Importing scikit-learn takes most of a fresh predictor's start and of its memory, and only to compare once more what
was compared. So the finding is kept in a directory, by the hash of the model's bytes; later starts read the model's
numbers (`holders`) and make the same methods of them.

Guarantees: what is found is good for the very bytes, the same versions of the libraries and the same code of these
modules; what is kept says only what a model is and that it was checked - what answers is made from the model's own
bytes; a directory that cannot be read or written is as good as none.
"""

import hashlib
import logging
import os
import sys
import tempfile
from dataclasses import astuple
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace

import orjson

from zeroflow.models.compiled import holders, parts
from zeroflow.models.compiled.linear import HEADS
from zeroflow.models.compiled.trees import PLAIN
from zeroflow.models.estimator import Estimator, Tensor

logger = logging.getLogger(__name__)

KEPT = ("kind", "width", "columns", "takes_missing", "serves")
LIBRARIES = ("numpy", "scikit-learn", "scipy", "onnxruntime")


def recall(folder: Path, path: Path, sha256: str) -> Estimator | None:
    """Return the model in a file as it was compiled before; None when that is not known, or not known any more."""
    try:
        found = orjson.loads((folder / f"{sha256}.json").read_bytes())
        if found["made_by"] != _made_by():
            return None
        methods = parts.methods(holders.read(path), found["kinds"])
    except (OSError, orjson.JSONDecodeError):
        return None
    except Exception as error:  # whatever it is, the usual way says it better
        logger.warning("%s is not read as it was before: %s: %s", path.name, type(error).__name__, error)
        return None
    if methods is None:
        return None
    known = found["known"]
    return Estimator(
        model=SimpleNamespace(**methods),  # all that could be asked of the original
        sha256=sha256,
        text_columns=frozenset(),
        takes_text=False,
        needs_frame=False,
        fast=methods,
        answers=tuple(Tensor(name, datatype, tuple(shape)) for name, datatype, shape in found["outputs"]),
        **{**known, "columns": None if known["columns"] is None else tuple(known["columns"])},
    )


def keep(folder: Path, model: Estimator) -> None:
    """Remember a model that was compiled, if all that can be asked of it is made of its numbers alone."""
    if not model.parts or set(model.fast) != set(model.methods) or model.parts[-1] not in (*HEADS, *PLAIN):
        return
    said = {
        "made_by": _made_by(),
        "kinds": model.parts,
        "known": {name: getattr(model, name) for name in KEPT},
        "outputs": [astuple(output) for output in model.outputs],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(orjson.dumps(said))
        os.replace(file.name, folder / f"{model.sha256}.json")
    except OSError as error:
        logger.info("%s keeps nothing: %s", folder, error)


def _made_by() -> dict[str, str]:
    """Return what the finding depends on, beside the model."""
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
    return {"python": sys.version, "code": code.hexdigest(), **{name: _version(name) for name in LIBRARIES}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
