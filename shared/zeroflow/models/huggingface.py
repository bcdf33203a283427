"""Hugging Face text models from a local directory: classification, embeddings, generation.

Nothing is downloaded and no code of the directory is run: `trust_remote_code` is never set, and weights are read from
safetensors or by torch with weights_only. What a model does is told from the architectures in its config.json.

Source: transformers, AutoModel and AutoTokenizer; sentence-transformers' modules.json and pooling config.
"""

import importlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from zeroflow.models import devices
from zeroflow.models.errors import FormatNotSupported
from zeroflow.models.estimator import Tensor
from zeroflow.models.sampling import Chooser
from zeroflow.models.tensormodel import COMPLETES, EMBEDS, RANKS, Piece, TensorModel, Wish
from zeroflow.models.texts import json_of

if TYPE_CHECKING:
    import numpy as np

INPUT = Tensor("text", "BYTES", (-1,))
GENERATED_TOKENS = 64
"""How many a V1 or V2 request gets, which has no place to ask for another number."""
COMPLETING = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
STEP_S = 120.0
TOOL_CALL = "<tool_call>"
"""How models of the Hermes and Qwen families begin the call of a tool; their templates name it."""


def read(path: Path, sha256: str) -> TensorModel:
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
    kind = _kind(str(architecture))
    if kind is None:
        raise FormatNotSupported(
            f"config.json names the architecture {architecture}; served are models of text that classify sequences, "
            "embed or complete"
        )
    local = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(path.parent), **local)
    device = devices.found(torch)
    model = getattr(transformers, kind).from_pretrained(str(path.parent), **local).to(device.name).eval()
    made = {"AutoModelForSequenceClassification": _Classifier, "AutoModel": _Embedder}.get(kind, _Completer)
    task = made(torch, tokenizer, model, device.name, path.parent)
    return TensorModel(
        kind=str(architecture),
        sha256=sha256,
        platform="huggingface_transformers",
        inputs=(INPUT,),
        outputs=task.outputs,
        run=task.run,
        serves=f"original, {device.name}",
        language=task if task.does else None,
        only_in=device.only_in,
    )


def _kind(architecture: str) -> str | None:
    """Return the class of transformers that loads an architecture."""
    if architecture.endswith("ForSequenceClassification"):
        return "AutoModelForSequenceClassification"
    if architecture.endswith(("ForConditionalGeneration",)):
        return "AutoModelForSeq2SeqLM"
    if architecture.endswith(COMPLETING):
        return "AutoModelForCausalLM"
    return "AutoModel" if architecture.endswith("Model") else None


@dataclass
class _State:
    """What the thread that generates and the one that listens tell each other."""

    left: bool = False
    """Nobody listens any more."""
    stopped: bool = False
    ended: bool = False
    tokens: int = 0
    error: Exception | None = None


class _Task:
    """What a model does with text; each kind has some of a Language's methods, and says which."""

    outputs: tuple[Tensor, ...]
    does: frozenset[str] = frozenset()

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        raise NotImplementedError

    def __init__(self, torch: Any, tokenizer: Any, model: Any, device: str, place: Path) -> None:
        self._torch, self._tokenizer, self._model, self._device, self._place = torch, tokenizer, model, device, place
        known = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)
        self._longest = int(known) if known else None
        self.vocabulary = int(getattr(model.config, "vocab_size", 0) or len(tokenizer))

    def prompt_of(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        raise NotImplementedError

    def complete(self, prompt: str, wish: Wish) -> Iterator[Piece]:
        raise NotImplementedError

    def embed(self, texts: Sequence[str]) -> "np.ndarray[Any, Any]":
        raise NotImplementedError

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        raise NotImplementedError

    def count(self, text: str) -> int:
        return len(self._tokenizer(text)["input_ids"])

    def _encoded(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> Any:
        """Return the tokens of texts, or of pairs of texts."""
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        longest = {"truncation": True, "max_length": self._longest} if self._longest else {}
        pairs = [list(texts)] if seconds is None else [list(texts), list(seconds)]
        encoded = self._tokenizer(*pairs, padding=True, return_tensors="pt", **longest)
        return encoded.to(self._device)


class _Classifier(_Task):
    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        count = self._model.config.num_labels
        if count == 1:
            self.does = frozenset({RANKS})  # one score of a pair of texts: a cross-encoder
        self.outputs = (
            Tensor("predict", "INT64", (-1,)),
            Tensor("predict_proba", "FP32", (-1, count)),
            Tensor("label", "BYTES", (-1,)),
        )

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        import numpy as np

        texts = [str(text) for text in given[INPUT.name].reshape(-1)]
        with self._torch.inference_mode():
            logits = self._model(**self._encoded(texts)).logits.float()
            shares = logits.softmax(-1).cpu().numpy()
        best = shares.argmax(axis=1)
        labels = self._model.config.id2label
        found = {
            "predict": best,
            "predict_proba": shares,
            "label": np.array([labels[int(each)] for each in best], dtype=object),
        }
        return {name: found[name] for name in wanted}

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return the score of each pair, from 0 to 1, as sentence-transformers' cross-encoders do."""
        with self._torch.inference_mode():
            logits = self._model(**self._encoded([query] * len(documents), documents)).logits.float()
            found: np.ndarray[Any, Any] = logits[:, 0].sigmoid().cpu().numpy()
        return found


class _Embedder(_Task):
    does = frozenset({EMBEDS, RANKS})

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = (Tensor("embedding", "FP32", (-1, int(self._model.config.hidden_size))),)
        pooling = self._place / "1_Pooling" / "config.json"
        self._first = pooling.is_file() and bool(json_of(pooling).get("pooling_mode_cls_token"))

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        return {"embedding": self.embed([str(text) for text in given[INPUT.name].reshape(-1)])}

    def embed(self, texts: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return unit vectors: the mean over a text's tokens, or its first token where the pooling config says so."""
        encoded = self._encoded(texts)
        with self._torch.inference_mode():
            hidden = self._model(**encoded).last_hidden_state.float()
            if self._first:
                pooled = hidden[:, 0]
            else:
                mask = encoded["attention_mask"].unsqueeze(-1).float()
                pooled = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
            found: np.ndarray[Any, Any] = self._torch.nn.functional.normalize(pooled, dim=1).cpu().numpy()
        return found

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return the cosine of each document's vector and the query's."""
        vectors = self.embed([query, *documents])
        found: np.ndarray[Any, Any] = vectors[1:] @ vectors[0]
        return found


class _Completer(_Task):
    does = frozenset({COMPLETES})

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = (Tensor("generated", "BYTES", (-1,)),)

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        import numpy as np

        made = []
        for text in given[INPUT.name].reshape(-1):
            left = self._longest - self.count(str(text)) if self._longest else GENERATED_TOKENS
            wish = Wish(max_tokens=max(1, min(GENERATED_TOKENS, left)), temperature=0.0)
            made.append("".join(piece.text for piece in self.complete(str(text), wish)))
        return {"generated": np.array(made, dtype=object)}

    def prompt_of(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        template = getattr(self._tokenizer, "chat_template", None)
        calls = any("tool_calls" in message or message["role"] == "tool" for message in messages)
        if (tools or calls) and not ("tools" in str(template) and TOOL_CALL in str(template)):
            raise ValueError(f"tools need a model whose chat template knows them and writes calls as {TOOL_CALL}")
        if template:
            try:
                return str(
                    self._tokenizer.apply_chat_template(
                        list(messages), tools=list(tools) or None, tokenize=False, add_generation_prompt=True
                    )
                )
            except Exception as error:  # a template is a program of the model's author: it refuses in its own ways
                raise ValueError(f"the model's chat template refuses these messages: {error}") from error
        said = "\n".join(f"{message['role']}: {message['content']}" for message in messages)
        return f"{said}\nassistant:"

    def complete(self, prompt: str, wish: Wish) -> Iterator[Piece]:
        """Yield the completion as it is made, in a thread that ends with it or when nobody listens any more."""
        ids = self._tokenizer(prompt, return_tensors="pt").to(self._device)
        length = int(ids["input_ids"].shape[1])
        if not length:
            raise ValueError("the prompt is empty")
        if self._longest and wish.is_default and length < self._longest:
            wish = replace(wish, max_tokens=min(wish.max_tokens, self._longest - length))
        if self._longest and length + wish.max_tokens > self._longest:
            raise ValueError(
                f"the prompt has {length} tokens and {wish.max_tokens} more are asked for; this model takes "
                f"{self._longest} together"
            )
        return self._pieces(ids, wish)

    def _pieces(self, ids: Any, wish: Wish) -> Iterator[Piece]:
        transformers: Any = importlib.import_module("transformers")
        encodes = bool(self._model.config.is_encoder_decoder)
        streamer = transformers.TextIteratorStreamer(
            self._tokenizer, skip_prompt=not encodes, skip_special_tokens=True, timeout=STEP_S
        )
        state = _State()
        length = 1 if encodes else int(ids["input_ids"].shape[1])

        chooser = Chooser(self._torch, self._tokenizer, wish, length, self._device)

        def watch(found: Any, scores: Any, **_: Any) -> Any:
            state.tokens = int(found.shape[1]) - length
            chooser.took(found)
            return found.new_full((found.shape[0],), state.left).bool()

        def make() -> None:
            try:
                with self._torch.inference_mode():
                    made = self._model.generate(
                        **ids,
                        do_sample=False,
                        logits_processor=transformers.LogitsProcessorList([chooser]),
                        max_new_tokens=wish.max_tokens,
                        streamer=streamer,
                        stopping_criteria=transformers.StoppingCriteriaList([watch]),
                        pad_token_id=self._tokenizer.pad_token_id or self._tokenizer.eos_token_id or 0,
                    )
                    ends = self._model.generation_config.eos_token_id
                    state.ended = int(made[0, -1]) in (ends if isinstance(ends, list) else [ends])
            except Exception as error:
                state.error = error
                streamer.end()

        thread = Thread(target=make, name="generate", daemon=True)
        thread.start()
        try:
            said, told = 0, 0
            for piece in _until_stop(streamer, wish.stop, state):
                said += len(piece.text)
                begun = tuple(each for each in chooser.chosen[told:] if each.offset < said)
                told += len(begun)
                yield replace(piece, chosen=begun)
        finally:
            state.left = True
        thread.join(STEP_S)
        if state.error is not None:
            raise RuntimeError(f"generation failed: {type(state.error).__name__}") from state.error
        rest = () if state.stopped else tuple(chooser.chosen[told:])
        yield Piece("", state.tokens, "stop" if state.ended or state.stopped else "length", rest)


def _until_stop(streamer: Any, stops: tuple[str, ...], state: _State) -> Iterator[Piece]:
    """Yield text until one of `stops`, holding back what may be the beginning of one."""
    held, keep = "", max((len(stop) for stop in stops), default=1) - 1
    for text in streamer:
        held += text
        found = [at for stop in stops if (at := held.find(stop)) >= 0]
        if found:
            state.left = state.stopped = True
            held = held[: min(found)]
            break
        if len(held) > keep:
            cut = len(held) - keep
            yield Piece(held[:cut], 0)
            held = held[cut:]
    if held:
        yield Piece(held, 0)
