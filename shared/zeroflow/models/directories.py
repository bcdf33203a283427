"""Which model lies at a path: one model file, or a layout that a framework gives to directories.

Layouts: MLflow (`MLmodel`), TensorFlow SavedModel (`saved_model.pb`), Hugging Face (`config.json` that names
architectures), MLServer (`model-settings.json`), TorchServe (`model-store/*.mar`, to be refused by its name), a Python
class with whatever it reads (`*.py`), a torch.nn.Module with its weights (`*.py` and one `.pt`, `.pth` or
`.safetensors`). Python files are parsed, never run. Hidden files and files of no known format (a README,
requirements.txt) do not count; two models in one directory are refused with both named.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zeroflow.models.errors import AmbiguousModel, CorruptModel, FormatNotSupported, NoModel
from zeroflow.models.formats import INSTEAD, SERVED, ModelFile, head_of, identify
from zeroflow.models.texts import inside, json_of, text_of

HUGGINGFACE_OWN = ("pytorch", "safetensors", "keras", "onnx", "tflite")
"""What else a Hugging Face directory holds: the same weights for other frameworks."""
MLSERVER_RUNTIMES = "mlserver_"
MODEL_STORE = "model-store"
"""Where TorchServe's archives lie, beside config/config.properties."""


def find_model(root: Path, declared: str | None = None) -> ModelFile:
    """Return the one model at `root`, a file or a directory, that this release serves.

    Raises NoModel, AmbiguousModel, CorruptModel, or FormatNotSupported - also when it is not what `declared` says.
    """
    found = only_model(root)
    if found.format not in SERVED:
        instead = f"; {INSTEAD[found.format]}" if found.format in INSTEAD else ""
        raise FormatNotSupported(
            f"{found.path.name} is a {found.format} model; formats served now: {', '.join(SERVED)}{instead}"
        )
    if found.format == "pytorch" and found.encoding in ("weights", "native"):
        raise FormatNotSupported(
            f"{found.path.name} holds PyTorch weights without a program; save it with torch.jit.save or "
            "torch.export.save, or put a .py file with its torch.nn.Module beside it"
        )
    if declared is not None and declared != found.format:
        raise FormatNotSupported(f"{found.path.name} is a {found.format} model, but modelFormat says {declared}")
    return found


def only_model(root: Path) -> ModelFile:
    """Return the model at a path; raise NoModel, AmbiguousModel, CorruptModel, or FormatNotSupported."""
    if root.is_file():
        found = identify(root)
        if found is None:
            raise FormatNotSupported(
                f"{root.name} is no model of a known format: it begins with {head_of(root)[:16]!r}"
            )
        return found
    if not root.is_dir():
        raise NoModel(f"there is no model: {root.name} is neither a file nor a directory")
    if archives := sorted((root / MODEL_STORE).glob("*.mar")):
        return ModelFile(archives[0], "torchserve", "native")
    files = sorted(path for path in root.iterdir() if path.is_file() and not path.name.startswith("."))
    if (found := _mlserver(root)) is not None:
        return found
    single = [found for path in files if (found := identify(path)) is not None]
    layouts = list(_layouts(root, files, single))
    if len(layouts) == 1:
        layout, own = layouts[0]
        return _alone([layout, *(file for file in single if not own(file))])
    if not layouts and not single:
        names = ", ".join(path.name for path in files[:5]) or "nothing"
        raise NoModel(
            f"the directory holds no model file: expected one such as model.joblib, .ubj or .onnx, found {names}"
        )
    return _alone([layout for layout, _ in layouts] or _joined(single))


def _alone(models: list[ModelFile]) -> ModelFile:
    if len(models) > 1:
        names = ", ".join(f"{found.path.name} ({found.format})" for found in models[:5])
        raise AmbiguousModel(f"the directory holds {len(models)} models, expected one: {names}")
    return models[0]


def _joined(models: list[ModelFile]) -> list[ModelFile]:
    """Take the two files of a Paddle model for one."""
    paddle = [found for found in models if found.format == "paddle"]
    return [*paddle[:1], *(found for found in models if found.format != "paddle")]


def _layouts(root: Path, files: list[Path], single: list[ModelFile]) -> Iterator[tuple[ModelFile, Any]]:
    """Yield the layouts that a directory has, each with what tells its own files from another model's."""
    if (root / "MLmodel").is_file():
        from zeroflow.models import mlflow

        text = text_of(root / "MLmodel")
        encoding = "native" if "onnx" in mlflow.flavours(root / "MLmodel") else "pyfunc"
        yield ModelFile(root / "MLmodel", "mlflow", encoding), lambda file: file.path.name in text
    if (root / "saved_model.pb").is_file():
        yield ModelFile(root / "saved_model.pb", "tensorflow", "savedmodel"), lambda file: False
    if (root / "config.json").is_file() and "architectures" in json_of(root / "config.json"):
        yield (
            ModelFile(root / "config.json", "huggingface", "native"),
            lambda file: file.format in HUGGINGFACE_OWN,
        )
        return
    yield from _python(files, single)


def _python(files: list[Path], single: list[ModelFile]) -> Iterator[tuple[ModelFile, Any]]:
    weights = [file for file in single if file.encoding == "weights" or file.format == "safetensors"]
    for path in files:
        if path.suffix != ".py":
            continue
        modules, models = _classes(path, alone=not single)
        if models:  # whatever lies beside it, it reads itself
            yield ModelFile(path, "python", "class", _chosen(path, models)), lambda file: True
        elif modules and weights:
            name = _chosen(path, modules)
            (first, *_) = weights
            yield (
                ModelFile(path, "pytorch", "state-dict", name, first.path),
                lambda file: file.path == weights[0].path,
            )


def _classes(path: Path, alone: bool) -> tuple[list[str], list[str]]:
    """Return the classes of a file that are torch modules, and those that are models; helpers of others left out.

    A model has `predict`, and, unless the file is `alone`, `load` or a base class Model or MLModel: beside a model
    file, a class without may as well be part of that.
    """
    try:
        tree = ast.parse(text_of(path), path.name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:  # the latter two: nested too deeply
        raise CorruptModel(f"{path.name} is no Python that can be read: {str(error) or 'nested too deeply'}") from error
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    used = {
        node.id for each in classes for node in ast.walk(each) if isinstance(node, ast.Name) and node.id != each.name
    }
    free = [each for each in classes if each.name not in used] or classes
    modules = [each.name for each in free if any(_last_name(base) == "Module" for base in each.bases)]
    models = [each.name for each in free if each.name not in modules and _is_model(each, alone)]
    return modules, models


def _is_model(node: ast.ClassDef, alone: bool) -> bool:
    methods = {_name_of(each) for each in node.body}
    return "predict" in methods and (
        alone or "load" in methods or any(_last_name(base) in ("Model", "MLModel") for base in node.bases)
    )


def _chosen(path: Path, names: list[str]) -> str:
    if len(names) > 1:
        raise AmbiguousModel(f"{path.name} holds {len(names)} model classes, expected one: {', '.join(names[:5])}")
    return names[0]


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _name_of(node: ast.stmt) -> str:
    return node.name if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else ""


def _mlserver(root: Path) -> ModelFile | None:
    """Read MLServer's settings: the file that they name, or the class that implements the model."""
    path = root / "model-settings.json"
    if not path.is_file():
        return None
    settings = json_of(path)
    implementation = settings.get("implementation")
    if not isinstance(implementation, str) or "." not in implementation:
        raise CorruptModel(f'{path.name} has no "implementation" such as "model.MyModel"')
    module, _, name = implementation.rpartition(".")
    parameters = settings.get("parameters")
    uri = parameters.get("uri") if isinstance(parameters, dict) else None
    if module.startswith(MLSERVER_RUNTIMES):
        named = inside(root, uri, path.name) if isinstance(uri, str) else root
        return None if named == root.resolve() or named == root else only_model(named)  # else what lies beside it
    return ModelFile(inside(root, f"{module.replace('.', '/')}.py", path.name), "python", "class", name)
