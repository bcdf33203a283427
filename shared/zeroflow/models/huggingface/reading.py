"""From a directory with a config.json to a text model that answers.

Nothing is downloaded and no code of the directory is run: `trust_remote_code` is never set, and weights are read from
safetensors or by torch with weights_only. What a model does is told from the architectures in its config.json, unless
somebody says it (`task`); then the weights must have what the task needs.

Source: transformers, AutoModel and AutoTokenizer; sentence-transformers' modules.json and pooling config.
"""

import importlib
import os
from pathlib import Path
from typing import Any

from zeroflow.models import devices
from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.huggingface import options as said
from zeroflow.models.huggingface.completing import Completer
from zeroflow.models.huggingface.encoders import Classifier, Embedder, MaskFiller, TokenClassifier
from zeroflow.models.huggingface.options import AS_IT_IS, DTYPES, SCORED, TextOptions
from zeroflow.models.huggingface.task import INPUT, Task
from zeroflow.models.tensormodel import TensorModel
from zeroflow.models.texts import json_of

ENDINGS = (
    ("ForSequenceClassification", said.CLASSIFIES),
    ("ForTokenClassification", said.LABELS_TOKENS),
    ("ForMaskedLM", said.FILLS),
    ("ForConditionalGeneration", said.TRANSLATES),
    ("MTModel", said.TRANSLATES),
    ("EncoderDecoderModel", said.TRANSLATES),
    ("ForCausalLM", said.GENERATES),
    ("LMHeadModel", said.GENERATES),
    ("Model", said.EMBEDS_TEXT),
)
"""How the names of architectures end that are made for a task; the first that fits."""
LOADED: dict[str, tuple[str, type[Task]]] = {
    said.CLASSIFIES: ("AutoModelForSequenceClassification", Classifier),
    said.LABELS_TOKENS: ("AutoModelForTokenClassification", TokenClassifier),
    said.FILLS: ("AutoModelForMaskedLM", MaskFiller),
    said.EMBEDS_TEXT: ("AutoModel", Embedder),
    said.GENERATES: ("AutoModelForCausalLM", Completer),
    said.TRANSLATES: ("AutoModelForSeq2SeqLM", Completer),
}
"""The class of transformers that loads the model of a task, and ours that asks it."""


def read(path: Path, sha256: str, options: TextOptions = AS_IT_IS) -> TensorModel:
    """Load the model whose config.json lies at `path`; raise what transformers raises."""
    try:
        transformers: Any = importlib.import_module("transformers")
        torch: Any = importlib.import_module("torch")
    except ImportError as error:
        raise FormatNotSupported(
            f"{path.parent.name} is a Hugging Face model; install zeroflow[huggingface] to serve it"
        ) from error
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or 1))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    (architecture, *_) = json_of(path)["architectures"] or [""]
    task = options.task or _task_of(str(architecture))
    if options.scores and task not in SCORED:
        raise FormatNotSupported(f"a model of {task} answers no scores; only those of {', '.join(SCORED)} do")
    local = {"local_files_only": True, "trust_remote_code": False}
    cased = {"do_lower_case": False} if options.disable_lower_case else {}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), **local, **cased)
    loader, kind = LOADED[task]
    model = _loaded(getattr(transformers, loader), path.parent, options, local)
    if (dtype := DTYPES[options.dtype]) is not None:
        model = model.to(getattr(torch, dtype))
    device = devices.found(torch)
    made = kind(torch, tokenizer, model.to(device.name).eval(), device.name, path.parent, options)
    return TensorModel(
        kind=str(architecture),
        sha256=sha256,
        platform="huggingface_transformers",
        inputs=(INPUT,),
        outputs=made.outputs,
        run=made.run,
        serves=f"original, {device.name}",
        language=made if made.does else None,
        only_in=device.only_in,
    )


def _task_of(architecture: str) -> str:
    found = next((task for ending, task in ENDINGS if architecture.endswith(ending)), None)
    if found is None:
        raise FormatNotSupported(
            f"config.json names the architecture {architecture}; served are models of text that classify sequences or "
            "tokens, fill masks, embed or complete"
        )
    return found


def _loaded(loader: Any, place: Path, options: TextOptions, local: dict[str, bool]) -> Any:
    """Load the weights; a task that was asked for must not be answered by a head that nobody trained."""
    if options.task is None:
        return loader.from_pretrained(str(place), **local)
    model, told = loader.from_pretrained(str(place), output_loading_info=True, **local)
    missing = sorted(name for name in told["missing_keys"] if "pooler" not in name)
    if missing:
        raise FormatNotSupported(
            f"the weights have nothing for {options.task}: {', '.join(missing[:3])} would be random"
        )
    return model
