"""Models that were compiled, and found to answer the same, before: loaded again, they need neither scikit-learn nor
torch.

Importing these takes most of a fresh predictor's start and of its memory, and only to compare once more what was
compared. So the finding is kept in a directory, by the hash of the model's bytes; later starts read the model's
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
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import astuple
from functools import cache, reduce
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson

from zeroflow.models.compiled import check, holders, parts, programs
from zeroflow.models.compiled.linear import HEADS
from zeroflow.models.compiled.trees import PLAIN
from zeroflow.models.estimator import Estimator, Tensor
from zeroflow.models.tensormodel import TensorModel

logger = logging.getLogger(__name__)

KEPT = ("kind", "platform", "width", "serves")
LIBRARIES = ("numpy", "scikit_learn", "scipy", "onnxruntime", "torch")
GPUS = Path("/dev"), "nvidia[0-9]*"

Original = Callable[[], Any]


def recall(folder: Path, path: Path, sha256: str, original: Original) -> Estimator | TensorModel | None:
    """Return the model in a file as it was compiled before; None when that is not known, or not known any more.

    `original` loads a network as it is, when one is asked what its compiled form does not take.
    """
    try:
        found = orjson.loads((folder / f"{sha256}.json").read_bytes())
        if found["made_by"] != _made_by():
            return None
        known = {**found["known"], "sha256": sha256}
        if "network" not in found:
            return _estimator(path, found, known)
        place, pattern = GPUS
        if any(place.glob(pattern)):
            return None  # where torch sees one, it serves from there
        return _network(path, found, known, original)
    except (OSError, orjson.JSONDecodeError):
        return None
    except Exception as error:  # whatever it is, the usual way says it better
        logger.warning("%s is not read as it was before: %s: %s", path.name, type(error).__name__, error)
        return None


def keep(folder: Path, path: Path, model: Estimator | TensorModel) -> None:
    """Remember a model that was compiled, if all that answers is made of its numbers alone, and they are read alike."""
    said: dict[str, Any] = {"known": {name: getattr(model, name) for name in KEPT}}
    said["outputs"] = [astuple(output) for output in model.outputs]
    if isinstance(model, TensorModel):
        said |= {"network": model.parts, "input": astuple(model.inputs[0])}
    elif set(model.fast) == set(model.methods) and model.parts[-1] in (*HEADS, *PLAIN):
        said |= {"kinds": model.parts, "columns": model.columns, "takes_missing": model.takes_missing}
    else:
        return
    said["made_by"] = _made_by()
    try:
        with np.errstate(all="ignore"):
            if not _is_read_alike(path, orjson.loads(orjson.dumps(said)), model):
                return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(orjson.dumps(said))
        os.replace(file.name, folder / f"{model.sha256}.json")
    except Exception as error:  # a disk may be full, a file of another form than those that are known
        logger.info("%s is not remembered: %s: %s", path.name, type(error).__name__, error)


def _is_read_alike(path: Path, said: Mapping[str, Any], model: Estimator | TensorModel) -> bool:
    """Say whether what is made of the file's numbers answers as what its library made of the file."""
    known = {**said["known"], "sha256": model.sha256}
    if isinstance(model, Estimator):
        assert model.width is not None
        again = _estimator(path, said, known)
        rows = check.rows_for(model.model, model.width, model.takes_missing)
        return check.difference(again.fast, model.call, rows) == 0.0
    network = _network(path, said, known, lambda: model)
    assert model.width is not None
    rows = check.rows_for(None, model.width, True).astype(np.float32)
    asked = {model.inputs[0].name: rows}, (model.outputs[0].name,)
    ours, found = model.run(*asked), network.run(*asked)
    return all(np.array_equal(ours[name], found[name], equal_nan=True) for name in ours)


def _estimator(path: Path, found: Mapping[str, Any], known: Mapping[str, Any]) -> Estimator:
    methods = parts.methods(holders.read(path), found["kinds"])
    assert methods is not None  # it was made of these before
    return Estimator(
        model=SimpleNamespace(**methods),  # all that could be asked of the original
        columns=None if found["columns"] is None else tuple(found["columns"]),
        text_columns=frozenset(),
        takes_text=False,
        takes_missing=found["takes_missing"],
        needs_frame=False,
        fast=methods,
        answers=tuple(map(_tensor, found["outputs"])),
        **known,
    )


def _network(path: Path, found: Mapping[str, Any], known: Mapping[str, Any], original: Original) -> TensorModel:
    module, loaded = holders.read_script(path), cache(original)

    def array(name: str) -> Any:
        return reduce(lambda holder, part: vars(holder)[part], name.split("."), module)

    steps = [(kind, *[*map(array, names), None, None][:2]) for kind, *names in found["network"]]
    taken = _tensor(found["input"])
    run = programs.network(steps, taken.name, lambda given, wanted: loaded().run(given, wanted))
    return TensorModel(inputs=(taken,), outputs=tuple(map(_tensor, found["outputs"])), run=run, **known)


def _tensor(told: Any) -> Tensor:
    name, datatype, shape, is_guess = told
    return Tensor(name, datatype, tuple(shape), is_guess)


def _made_by() -> list[str]:
    """Return what the finding depends on, beside the model."""
    code = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py"))))
    return [sys.version, code.hexdigest(), *sorted(_libraries())]


def _libraries() -> Iterator[str]:
    """Yield name and version of the libraries that are installed, as their directories have them.

    importlib.metadata would read what it can say of each, which takes 4 MB of every predictor that is forked.
    """
    for place in sys.path:
        with suppress(OSError):
            for name in os.listdir(place or "."):
                if name.endswith(".dist-info") and name.partition("-")[0].lower() in LIBRARIES:
                    yield name
