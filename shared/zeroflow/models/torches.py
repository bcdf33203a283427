"""PyTorch programs: TorchScript archives (torch.jit.save), exported programs (torch.export.save), and modules of a
Python class that weights are filled into (torch.save of a state_dict, or safetensors).

All are programs, not only weights, so they are loaded only when somebody vouches for their bytes; weights are read as
data alone (`weights_only`). They run without gradients, on a GPU where there is one, and in one thread per request
otherwise; on a processor in a cheaper form, where that answers the same (compiled.programs). An exported program says
its inputs' types and shapes; the others only their names, and are given float32.
"""

import importlib
import inspect
import os
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from zeroflow.models import python
from zeroflow.models.errors import CorruptModel, UntrustedTypes
from zeroflow.models.estimator import Tensor, datatype_of
from zeroflow.models.formats import ModelFile
from zeroflow.models.tensormodel import Faster, TensorModel

if TYPE_CHECKING:
    import numpy as np


KINDS = {
    "torchscript": "TorchScript module",
    "torch-export": "torch exported program",
    "state-dict": "torch module",
}


def read(model: ModelFile, sha256: str, compiling: bool = True) -> TensorModel:
    """Load a program; raise what torch raises."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    path, encoding, program = model.path, model.encoding, None
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if encoding == "torchscript":
        module = torch.jit.load(str(path), map_location=device).eval()
        arguments = list(module.forward.schema.arguments)[1:]
        inputs = tuple(Tensor(each.name, "FP32", ()) for each in arguments if not each.has_default_value())
    elif encoding == "torch-export":
        program = torch.export.load(str(path))
        module, inputs = program.module().to(device), _inputs(torch, program)
    else:
        module = _filled(torch, model).to(device).eval()
        parameters = inspect.signature(module.forward).parameters.values()
        inputs = tuple(Tensor(each.name, "FP32", ()) for each in parameters if each.default is inspect.Parameter.empty)

    outputs = tuple(Tensor(f"output-{at}", "FP32", ()) for at in range(_outputs(module, encoding)))
    original = partial(_run, torch, module, inputs, device)
    plan = Faster(original, f"original, {device}")
    if compiling and device == "cpu" and encoding in ("torchscript", "torch-export"):
        from zeroflow.models.compiled import programs

        plan = programs.faster(torch, module, program, inputs, original)
    return TensorModel(
        kind=KINDS[encoding],
        sha256=sha256,
        platform=f"pytorch_{encoding}",
        inputs=inputs,
        outputs=outputs,
        run=plan.run,
        serves=plan.why,
        width=plan.width,
        parts=plan.parts,
    )


def _run(
    torch: Any, module: Any, inputs: Sequence[Tensor], device: str, given: Mapping[str, Any], wanted: tuple[str, ...]
) -> "dict[str, np.ndarray[Any, Any]]":
    with torch.inference_mode():
        tensors = [_tensor(torch, given[tensor.name]).to(device) for tensor in inputs]
        try:
            found = module(*tensors)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(_first_line(error)) from error
        parts = found if isinstance(found, tuple | list) else (found,)
        answers = {f"output-{at}": part.cpu().numpy() for at, part in enumerate(parts)}
    return {name: answers[name] for name in wanted if name in answers}


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


def _tensor(torch: Any, array: "np.ndarray[Any, Any]") -> Any:
    """Return a tensor on an array's memory where torch may write to it, which it may not to a request's bytes."""
    return torch.from_numpy(array) if array.flags.writeable else torch.tensor(array)


def _filled(torch: Any, model: ModelFile) -> Any:
    """Return the module of a class with its weights in it; raise CorruptModel when they are not its own."""
    assert model.class_name is not None
    assert model.weights is not None
    module = python.class_of(model.path, model.class_name)()
    if model.weights.suffix == ".safetensors":
        state = importlib.import_module("safetensors.torch").load_file(str(model.weights))
    else:
        try:
            state = torch.load(str(model.weights), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UntrustedTypes(
                f"{model.weights.name} holds more than weights; save it with torch.save(module.state_dict(), path)"
            ) from error
    if not isinstance(state, dict):
        raise CorruptModel(f"{model.weights.name} holds a {type(state).__name__}, expected a state_dict")
    state = state.get("state_dict", state)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        why = " ".join(str(error).split())[:300]
        raise CorruptModel(f"{model.weights.name} does not fit {model.class_name}: {why}") from error
    return module


def _outputs(module: Any, encoding: str) -> int:
    if encoding == "state-dict":
        return 1
    if encoding == "torchscript":
        (returned,) = module.forward.schema.returns
        return len(returned.type.elements()) if returned.type.kind() == "TupleType" else 1
    (output,) = [node for node in module.graph.nodes if node.op == "output"]
    return len(output.args[0]) if isinstance(output.args[0], tuple | list) else 1


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("RuntimeError:")), lines[-1] if lines else "refused")
