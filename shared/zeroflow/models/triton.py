"""Triton's model repositories: a directory for each model, with numbered versions and what config.pbtxt says of it.

Of the configuration the names, types and shapes of inputs and outputs are heeded, and which versions there are; what
schedules requests (instance groups, batching, optimizations) is Triton's own. TorchScript programs have no names for
what they take and give: their configuration's do, by `<name>__<index>` or by their order. Ensembles, `reshape` and the
Python backend are refused by name.

Source: Triton Inference Server, user guide: model repository, model configuration; protobuf text format.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.errors import CorruptModel, FormatNotSupported
from zeroflow.models.estimator import Tensor
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.texts import text_of

if TYPE_CHECKING:
    import numpy as np

CONFIG = "config.pbtxt"
SAVED_MODEL = "model.savedmodel"
PYTHON_MODEL = "model.py"
MAX_DEPTH = 16
_SIZES = (8, 16, 32, 64)
_KINDS = ("BOOL", *(f"UINT{size}" for size in _SIZES), *(f"INT{size}" for size in _SIZES), "FP16", "FP32", "FP64")
DATATYPES = {"TYPE_STRING": "BYTES", **{f"TYPE_{kind}": kind for kind in _KINDS}}
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')|([A-Za-z_][\w.]*)|([-+]?[\d.][\w.+-]*)|(.)"""
)
_INDEX = re.compile(r"__(\d+)$")

Message = dict[str, list[Any]]


@dataclass(frozen=True)
class Config:
    """What a configuration says; empty where there is none."""

    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()
    versions: tuple[str, ...] = ()
    """Those that may be served; empty: any."""


def config_of(place: Path) -> Config:
    """Read the configuration of a model's directory; raise CorruptModel or FormatNotSupported."""
    path = place / CONFIG
    if not path.is_file():
        return Config()
    said = parse(text_of(path))
    if "ensemble_scheduling" in said or "ensemble" in said.get("platform", ()):
        raise FormatNotSupported(f"{place.name} is an ensemble; make an InferenceGraph of its steps instead")
    batched = _number(said.get("max_batch_size", ["0"])[-1]) > 0
    chosen = [versions for policy in _messages(said, "version_policy") for versions in _messages(policy, "specific")]
    return Config(
        inputs=tuple(_tensor(place.name, each, batched) for each in _messages(said, "input")),
        outputs=tuple(_tensor(place.name, each, batched) for each in _messages(said, "output")),
        versions=tuple(str(_number(version)) for each in chosen for version in each.get("versions", ())),
    )


def version_of(place: Path, config: Config) -> str:
    """Return the highest version of a model that may be served; raise CorruptModel when there is none."""
    found = [each.name for each in place.iterdir() if each.is_dir() and each.name.isascii() and each.name.isdecimal()]
    allowed = [version for version in found if not config.versions or str(int(version)) in config.versions]
    if not allowed:
        known = f", expected one of {', '.join(config.versions)}" if config.versions else ""
        raise CorruptModel(f"{place.name} has no directory of a version such as {place.name}/1{known}")
    return max(allowed, key=int)


def place_of(version: Path) -> Path:
    """Return where the model of a version lies, below its directory."""
    if (version / PYTHON_MODEL).is_file() and "TritonPythonModel" in text_of(version / PYTHON_MODEL):
        raise FormatNotSupported(
            f"{PYTHON_MODEL} is for Triton's Python backend; write a class with load and predict instead"
        )
    saved = version / SAVED_MODEL
    return saved if saved.is_dir() else version


def named(model: Any, config: Config) -> Any:
    """Return a loaded model under the names, types and shapes of its configuration; raise CorruptModel."""
    if not isinstance(model, TensorModel) or not (config.inputs or config.outputs):
        return model
    inputs = _matched(config.inputs, model.inputs, "inputs") if config.inputs else {}
    outputs = _matched(config.outputs, model.outputs, "outputs") if config.outputs else {}
    back = {own: name for name, own in outputs.items()}

    def run(given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        asked = {inputs.get(name, name): array for name, array in given.items()}
        found = model.run(asked, tuple(outputs.get(name, name) for name in wanted))
        return {back.get(name, name): array for name, array in found.items()}

    return replace(model, inputs=config.inputs or model.inputs, outputs=config.outputs or model.outputs, run=run)


def _matched(said: tuple[Tensor, ...], own: tuple[Tensor, ...], what: str) -> dict[str, str]:
    """Return the model's own name of each tensor of the configuration: the same, by its index, or by its place."""
    known = [tensor.name for tensor in own]
    found = {}
    for place, tensor in enumerate(said):
        index = _INDEX.search(tensor.name)
        at = int(index[1]) if index else place
        if tensor.name in known:
            found[tensor.name] = tensor.name
        elif at < len(known) and (index or len(said) == len(known)):
            found[tensor.name] = known[at]
        else:
            raise CorruptModel(f"{CONFIG} names {tensor.name!r} among the {what}; the model's are {', '.join(known)}")
    return found


def _tensor(model: str, said: Message, batched: bool) -> Tensor:
    name, kind = str((said.get("name") or [""])[-1]), str((said.get("data_type") or [""])[-1])
    if "reshape" in said:
        raise FormatNotSupported(f"{CONFIG} of {model} has a reshape of {name!r}, which is not supported")
    if not name or kind not in DATATYPES:
        raise CorruptModel(f"{CONFIG} of {model} has a tensor {name!r} of data_type {kind!r}")
    dims = tuple(_number(size) for size in said.get("dims", ()))
    return Tensor(name, DATATYPES[kind], (-1, *dims) if batched else dims)


def _number(value: Any) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise CorruptModel(f"{CONFIG} has {str(value)[:40]!r} where a whole number is expected") from None


def _messages(said: Message, name: str) -> list[Message]:
    found = said.get(name, [])
    if not all(isinstance(each, dict) for each in found):
        raise CorruptModel(f"{CONFIG}: {name} must be a message")
    return found


def parse(text: str) -> Message:
    """Read the text format of protobuf: each field with the list of its values; raise CorruptModel."""
    tokens = list(_tokens(text))
    found, rest = _message(tokens, 0, None, 0)
    if rest != len(tokens):
        raise CorruptModel(f"{CONFIG} has a {tokens[rest]!r} that nothing opens")
    return found


def _tokens(text: str) -> Iterator[str]:
    for match in _TOKEN.finditer(text):
        if match.lastindex is not None:
            yield match[0]


def _message(tokens: list[str], at: int, closing: str | None, depth: int) -> tuple[Message, int]:
    if depth > MAX_DEPTH:
        raise CorruptModel(f"{CONFIG} nests deeper than {MAX_DEPTH}")
    found: Message = {}
    while at < len(tokens) and tokens[at] != closing:
        name, at = tokens[at], at + 1
        if name in ",;":
            continue
        if not (name[0].isalpha() or name[0] == "_"):
            return found, at - 1
        if at < len(tokens) and tokens[at] == ":":
            at += 1
        values, at = _values(tokens, at, depth)
        found.setdefault(name, []).extend(values)
    if closing is not None and at >= len(tokens):
        raise CorruptModel(f"{CONFIG} ends before its {closing!r}")
    return found, at + (closing is not None)


def _values(tokens: list[str], at: int, depth: int) -> tuple[list[Any], int]:
    if at >= len(tokens):
        raise CorruptModel(f"{CONFIG} ends where a value is expected")
    if depth > MAX_DEPTH:
        raise CorruptModel(f"{CONFIG} nests deeper than {MAX_DEPTH}")
    word = tokens[at]
    if word in ("{", "<"):
        message, at = _message(tokens, at + 1, {"{": "}", "<": ">"}[word], depth + 1)
        return [message], at
    if word == "[":
        values, at = [], at + 1
        while at < len(tokens) and tokens[at] != "]":
            if tokens[at] == ",":
                at += 1
                continue
            more, at = _values(tokens, at, depth + 1)
            values += more
        if at >= len(tokens):
            raise CorruptModel(f"{CONFIG} ends before its ']'")
        return values, at + 1
    if word[0] in "\"'":
        written = ""
        while at < len(tokens) and tokens[at][0] in "\"'":
            written, at = written + re.sub(r"\\(.)", r"\1", tokens[at][1:-1]), at + 1
        return [written], at
    if not (word[0].isalnum() or word[0] in "_-+."):
        raise CorruptModel(f"{CONFIG} has {word!r} where a value is expected")
    return [word], at + 1
