"""PyTorch programs: TorchScript archives (torch.jit.save) and exported programs (torch.export.save).

Both hold programs, not only weights, so they are loaded only when somebody vouches for their bytes. They run without
gradients, on a GPU where there is one, and in one thread per request otherwise. An exported program says its inputs'
types and shapes; a TorchScript module only their names, and is given float32.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor, datatype_of
from zeroflow.models.tensormodel import TensorModel

if TYPE_CHECKING:
    import numpy as np


def read(path: Path, encoding: str, sha256: str) -> TensorModel:
    """Load a program; raise what torch raises."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if encoding == "torchscript":
        module = torch.jit.load(str(path), map_location=device).eval()
        arguments = list(module.forward.schema.arguments)[1:]
        inputs = tuple(Tensor(each.name, "FP32", ()) for each in arguments if not each.has_default_value())
    else:
        program = torch.export.load(str(path))
        module, inputs = program.module().to(device), _inputs(torch, program)

    def run(given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        with torch.inference_mode():
            # torch wants memory that it may write to; a request's bytes are not
            tensors = [torch.tensor(given[tensor.name], device=device) for tensor in inputs]
            try:
                found = module(*tensors)
            except (RuntimeError, AssertionError) as error:
                raise ValueError(_first_line(error)) from error
            parts = found if isinstance(found, tuple | list) else (found,)
            answers = {f"output-{at}": part.cpu().numpy() for at, part in enumerate(parts)}
        return {name: answers[name] for name in wanted}

    count = _outputs(module, encoding)
    return TensorModel(
        kind="TorchScript module" if encoding == "torchscript" else "torch exported program",
        sha256=sha256,
        platform=f"pytorch_{encoding}",
        inputs=inputs,
        outputs=tuple(Tensor(f"output-{at}", "FP32", ()) for at in range(count)),
        run=run,
        serves=f"original, {device}",
    )


def _inputs(torch: Any, program: Any) -> tuple[Tensor, ...]:
    import numpy as np

    nodes = {node.name: node.meta["val"] for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in program.graph_signature.user_inputs:
        value = nodes[name]
        dtype = np.dtype(str(value.dtype).removeprefix("torch."))
        shape = tuple(size if isinstance(size, int) else -1 for size in value.shape)
        found.append(Tensor(name, datatype_of(dtype), shape))
    return tuple(found)


def _outputs(module: Any, encoding: str) -> int:
    if encoding == "torchscript":
        (returned,) = module.forward.schema.returns
        return len(returned.type.elements()) if returned.type.kind() == "TupleType" else 1
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    return len(output.args[0]) if isinstance(output.args[0], tuple | list) else 1


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("RuntimeError:")), lines[-1] if lines else "refused")
