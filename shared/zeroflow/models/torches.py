"""PyTorch programs: TorchScript archives (torch.jit.save), exported programs (torch.export.save), and modules of a
Python class that weights are filled into (torch.save of a state_dict, or safetensors).

All are programs, not only weights, so they are loaded only when somebody vouches for their bytes; weights are read as
data alone (`weights_only`). They run without gradients, on a GPU where there is one, and in one thread per request
otherwise; on a processor in a cheaper form, where that answers the same (compiled.programs).
"""

import importlib
import os
import pickle
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from zeroflow.models import devices, python, torchimport, torchsignatures
from zeroflow.models.errors import CorruptModel, UntrustedTypes
from zeroflow.models.formats import ModelFile
from zeroflow.models.tensormodel import Faster, TensorModel
from zeroflow.models.torchsignatures import Signature

if TYPE_CHECKING:
    import numpy as np


KINDS = {
    "torchscript": "TorchScript module",
    "torch-export": "torch exported program",
    "state-dict": "torch module",
}


def read(model: ModelFile, sha256: str, compiling: bool = True) -> TensorModel:
    """Load a program; raise what torch raises."""
    torch: Any = torchimport.for_script() if model.encoding == "torchscript" else importlib.import_module("torch")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    path, encoding, program = model.path, model.encoding, None
    device = devices.found(torch)
    if encoding == "torchscript":
        module = torch.jit.load(str(path), map_location=device.name).eval()
        signature = torchsignatures.of_script(torch, module)
    elif encoding == "torch-export":
        program = torch.export.load(str(path))
        module = program.module().to(device.name)
        signature = torchsignatures.of_program(torch, program, module)
    else:
        module = _filled(torch, model).to(device.name).eval()
        signature = torchsignatures.of_module(torch, module)

    original = partial(_run, device, module, signature)
    plan = Faster(original, f"original, {device.name}")
    if compiling and device.name == "cpu" and encoding in ("torchscript", "torch-export"):
        from zeroflow.models.compiled import programs

        plan = programs.faster(torch, module, program, signature.inputs, original)
    return TensorModel(
        kind=KINDS[encoding],
        sha256=sha256,
        platform=f"pytorch_{encoding}",
        inputs=signature.inputs,
        outputs=signature.outputs,
        run=plan.run,
        serves=plan.why,
        width=plan.width,
        parts=plan.parts,
        only_in=device.only_in,
    )


def _run(
    device: devices.Device, module: Any, signature: Signature, given: Mapping[str, Any], wanted: tuple[str, ...]
) -> "dict[str, np.ndarray[Any, Any]]":
    try:
        found = device.call(module, [given[tensor.name] for tensor in signature.inputs], signature.floats)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(_first_line(error)) from error
    if isinstance(found, dict):
        raise TypeError("forward returned a dictionary; return a tensor or a tuple of tensors")
    parts = found if isinstance(found, list) else [found]
    answers = {f"output-{at}": part for at, part in enumerate(parts)}
    return {name: answers[name] for name in wanted if name in answers}


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


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if line.startswith("RuntimeError:")), lines[-1] if lines else "refused")
