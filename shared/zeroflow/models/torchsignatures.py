"""What a PyTorch program takes and gives: names, datatypes and shapes, told from its graph; nothing is run.

An exported program says all of it. TorchScript and modules name their inputs only. Of those, one that looks up rows of
a table (`embedding`, `gather`, ...) takes INT64; the others are announced as the numbers that the parameters are, and
what they are really given is the caller's choice (`Tensor.is_guess`).

numpy has no bfloat16: such inputs are announced and taken as FP32, such outputs given as it.

Sources: TorchScript IR (`inlined_graph`), torch.export.ExportedProgram (`graph_signature`, `meta["val"]`).
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.estimator import Tensor, datatype_of

INDICES = {"embedding": 1, "embedding_bag": 1, "index_select": 2, "gather": 2, "one_hot": 0}
"""Operations one of whose arguments, the one at this place, must be whole numbers."""
SAME_VALUES = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "slice",
        "select",
        "squeeze",
        "unsqueeze",
        "expand",
        "transpose",
        "permute",
        "contiguous",
        "clone",
        "detach",
    ]
)
"""Operations whose answer has the values, and the type, of their first argument."""


@dataclass(frozen=True)
class Signature:
    """What a program takes and gives."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    floats: tuple[Any, ...]
    """For each input the floating type of torch that its fractions are turned into; None leaves them as they come."""


def of_script(torch: Any, module: Any) -> Signature:
    """Return the signature of a TorchScript module; raise FormatNotSupported when it answers no tensors."""
    arguments = [each for each in list(module.forward.schema.arguments)[1:] if not each.has_default_value()]
    (returned,) = module.forward.schema.returns
    kind = returned.type.kind()
    if kind == "DictType":
        raise FormatNotSupported("the module's forward returns a dictionary; return a tensor or a tuple of tensors")
    count = len(returned.type.elements()) if kind == "TupleType" else 1
    return _guessed(torch, module, [each.name for each in arguments], count, _indices(module))


def of_module(torch: Any, module: Any) -> Signature:
    """Return the signature of a module of Python; what its forward returns is taken for one tensor."""
    parameters = inspect.signature(module.forward).parameters.values()
    names = [each.name for each in parameters if each.default is inspect.Parameter.empty]
    looks_up = any(isinstance(each, torch.nn.Embedding | torch.nn.EmbeddingBag) for each in module.modules())
    found: frozenset[str] = frozenset()
    if looks_up:
        with suppress(Exception):  # most of Python is no TorchScript: nothing is known of such a module's inputs
            found = _indices(torch.jit.script(module))
    return _guessed(torch, module, names, 1, found)


def of_program(torch: Any, program: Any, module: Any) -> Signature:
    """Return the signature of an exported program and the module that it makes."""
    nodes = {node.name: node for node in program.graph.nodes}
    names = list(program.graph_signature.user_inputs)
    values = [nodes[name].meta["val"] for name in names]
    (last,) = (node for node in module.graph.nodes if node.op == "output")
    count = len(last.args[0]) if isinstance(last.args[0], tuple | list) else 1
    answers = [nodes[name].meta["val"] for name in program.graph_signature.user_outputs if name in nodes]
    if len(answers) != count:  # an answer that is an input or a constant has no node of its own
        answers = []
    outputs = [_told(torch, f"output-{at}", value) for at, value in enumerate(answers)]
    return Signature(
        tuple(_told(torch, name, value) for name, value in zip(names, values, strict=True)),
        tuple(outputs) or tuple(Tensor(f"output-{at}", "FP32", ()) for at in range(count)),
        tuple(torch.bfloat16 if value.dtype == torch.bfloat16 else None for value in values),
    )


def _told(torch: Any, name: str, value: Any) -> Tensor:
    import numpy as np

    dtype = torch.float32 if value.dtype == torch.bfloat16 else value.dtype
    shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
    return Tensor(name, datatype_of(np.dtype(str(dtype).removeprefix("torch."))), shape)


def _guessed(torch: Any, module: Any, names: Sequence[str], answers: int, indices: frozenset[str]) -> Signature:
    parts = (*module.parameters(), *module.buffers())
    numbers = next((part.dtype for part in parts if part.dtype.is_floating_point), torch.float32)
    datatype = {torch.float64: "FP64", torch.float16: "FP16"}.get(numbers, "FP32")
    return Signature(
        tuple(Tensor(name, "INT64" if name in indices else datatype, (), is_guess=True) for name in names),
        tuple(Tensor(f"output-{at}", "FP32", ()) for at in range(answers)),
        (numbers,) * len(names),
    )


def _indices(module: Any) -> frozenset[str]:
    """Return the names of a TorchScript module's inputs that are used to look something up."""
    graph = module.inlined_graph
    arguments = list(module.forward.schema.arguments)
    names = {value.debugName(): each.name for value, each in zip(graph.inputs(), arguments, strict=True)}
    found = set()
    for node in _nodes(graph):
        if (at := INDICES.get(_operation(node))) is not None:
            value = list(node.inputs())[at]
            while _operation(value.node()) in SAME_VALUES:
                value = next(value.node().inputs())
            found.add(names.get(value.debugName(), ""))
    return frozenset(found - {""})


def _operation(node: Any) -> str:
    return str(node.kind()).removeprefix("aten::")


def _nodes(block: Any) -> Iterator[Any]:
    for node in block.nodes():
        yield node
        for inner in node.blocks():
            yield from _nodes(inner)
