"""Fully connected PyTorch networks as the few numpy operations that they are.

torch's own overhead for a row is several times what a small network computes (measured, 784-256-10: 65 us instead of
22). Taken are TorchScript graphs and exported programs that are one chain: a linear layer first, then linear layers
and the activations below, all float32; any other one is left to torch. Nothing is run to read a graph.

Sources: TorchScript IR (torch.jit.freeze), Core ATen IR (torch.export).
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Method = Callable[[Array], Array]
Step = tuple[str, Array | None, Array | None]
"""What is done with rows: one of ACTIVATIONS, or `linear` with its weights (outputs, inputs) and its bias."""
Operation = tuple[str, Sequence[Any]]
"""An ATen operation and its arguments; the chain's tensor is `CHAIN`."""

CHAIN = object()
MAX_WIDTH = 16_384
"""Beyond this the rows of the check would not be small any more."""
MAX_FINITE = 1e30
"""Where float32 sums may overflow in another order, nothing is compared."""


def of_script(module: Any) -> Sequence[Step] | None:
    """Return the steps of a frozen TorchScript module; None when it is no such chain."""
    return _steps(_script(module.graph))


def of_program(program: Any) -> Sequence[Step] | None:
    """Return the steps of an exported program; None when it is no such chain."""
    return _steps(_exported(program))


def width_of(steps: Sequence[Step]) -> int:
    """Return the number of columns that a chain takes."""
    weight = steps[0][1]
    assert weight is not None
    return int(weight.shape[1])


def joined(steps: Sequence[Step]) -> Method:
    """Return what the steps compute one after the other."""
    methods = [ACTIVATIONS[name] if weight is None else _linear(weight, bias) for name, weight, bias in steps]

    def run(rows: Array) -> Array:
        with np.errstate(all="ignore"):  # torch says nothing of overflow either
            return reduce(lambda found, step: step(found), methods, rows)

    return run


def difference(was: Array, now: Array) -> float:
    """Return the largest difference, relative to the larger of 1 and the row's own; ValueError for other forms."""
    if was.shape != now.shape or was.dtype != now.dtype:
        raise ValueError(f"answers are {now.dtype}{list(now.shape)}, not {was.dtype}{list(was.shape)}")
    if not np.array_equal(np.isnan(was), np.isnan(now)):
        raise ValueError("answers differ in what is a number")
    was, now = np.nan_to_num(was.astype(np.float64)), np.nan_to_num(now.astype(np.float64))
    sizes = np.abs(was).max(axis=tuple(range(1, was.ndim)), keepdims=True)
    gaps = np.abs(was - now) / np.maximum(1.0, sizes)
    return float(np.where(sizes < MAX_FINITE, gaps, 0.0).max(initial=0.0))


def _linear(weight: Array, bias: Array | None) -> Method:
    turned = np.ascontiguousarray(weight.T)

    def method(rows: Array) -> Array:
        found = rows @ turned
        if bias is not None:
            found += bias
        return found  # type: ignore[no-any-return]

    return method


def _steps(operations: Iterator[Operation | None]) -> Sequence[Step] | None:
    steps: list[Step] = []
    for operation in operations:
        made = None if operation is None else _step(*operation)
        if made is None:
            return None
        if made[0] != "same":
            steps.append(made)
    return steps if steps and steps[0][0] == "linear" and width_of(steps) <= MAX_WIDTH else None


def _step(name: str, given: Sequence[Any]) -> Step | None:
    """Return an operation as a step; None when it is not known here."""
    first, *others = given
    if first is not CHAIN or any(each is CHAIN for each in others):
        return None
    match name.removesuffix("_"), others:
        case "linear", [weight, *bias]:
            return _weighted(weight, bias[0] if bias else None)
        case "relu" | "tanh" | "sigmoid" as activation, []:
            return activation, None, None
        case "softmax", [-1 | 1, *dtype] if not any(dtype):
            return "softmax", None, None
        case "dropout" | "feature_dropout", [_, False]:
            return "same", None, None
    return None


def _weighted(weight: Any, bias: Any) -> Step | None:
    parts = [weight, *([] if bias is None else [bias])]
    if any(str(getattr(each, "dtype", "")) != "torch.float32" for each in parts) or weight.dim() != 2:
        return None
    found = [each.detach().cpu().numpy() for each in parts]
    return "linear", found[0], found[1] if bias is not None else None


def _sigmoid(rows: Array) -> Array:
    special: Any = importlib.import_module("scipy.special")
    return np.asarray(special.expit(rows, out=rows))


def _softmax(rows: Array) -> Array:
    rows -= rows.max(axis=-1, keepdims=True)
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=-1, keepdims=True)
    return rows


ACTIVATIONS: Mapping[str, Method] = {
    "relu": lambda rows: np.maximum(rows, np.float32(0), out=rows),
    "tanh": lambda rows: np.tanh(rows, out=rows),
    "sigmoid": _sigmoid,
    "softmax": _softmax,
}
"""Each writes to the array that it is given, which is a linear layer's own."""


def _script(graph: Any) -> Iterator[Operation | None]:
    known: dict[str, Any] = {}
    *_module, chain = [each.debugName() for each in graph.inputs()]
    if len(_module) != 1:
        yield None
    for node in graph.nodes():
        if node.kind() == "prim::Constant":
            known[node.output().debugName()] = node.output().toIValue()
            continue
        given = [each.debugName() for each in node.inputs()]
        if any(name != chain and name not in known for name in given) or node.outputsSize() != 1:
            yield None
            return
        yield node.kind().removeprefix("aten::"), [CHAIN if name == chain else known[name] for name in given]
        chain = node.output().debugName()
    if [each.debugName() for each in graph.outputs()] != [chain]:
        yield None


def _exported(program: Any) -> Iterator[Operation | None]:
    weights: Mapping[str, str] = program.graph_signature.inputs_to_parameters
    placeholders = [node.name for node in program.graph.nodes if node.op == "placeholder"]
    users = [name for name in placeholders if name not in weights]
    if len(users) != 1:
        yield None
        return
    (chain,) = users
    for node in program.graph.nodes:
        if node.op == "call_function":
            if node.kwargs or any(_name(each) not in (None, chain, *weights) for each in node.args):
                yield None
                return
            yield (
                str(node.target).removeprefix("aten.").partition(".")[0],
                [
                    CHAIN if _name(each) == chain else program.state_dict[weights[each.name]] if _name(each) else each
                    for each in node.args
                ],
            )
            chain = node.name
        elif node.op == "output" and [_name(each) for each in node.args[0]] != [chain]:
            yield None


def _name(argument: Any) -> str | None:
    """Return the name of a value of the graph; None of a constant."""
    return getattr(argument, "name", None) if hasattr(argument, "op") else None
