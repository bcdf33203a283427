"""Text models that complete: prompts, chats, and translations of encoder-decoders; one thread for each completion.

Source: transformers, generate and TextIteratorStreamer; OpenAI's API for what may be wished.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor
from zeroflow.models.huggingface.forms import Followed, Forms
from zeroflow.models.huggingface.sampling import Chooser
from zeroflow.models.huggingface.task import Task
from zeroflow.models.tensormodel import COMPLETES, Piece, Wish

if TYPE_CHECKING:
    import numpy as np

GENERATED_TOKENS = 64
"""How many a V1 or V2 request gets, which has no place to ask for another number."""
STEP_S = 120.0
TOOL_CALL = "<tool_call>"
"""How models of the Hermes and Qwen families begin the call of a tool; their templates name it."""


@dataclass
class _State:
    """What the thread that generates and the one that listens tell each other."""

    left: bool = False
    """Nobody listens any more."""
    stopped: bool = False
    ended: bool = False
    tokens: int = 0
    error: Exception | None = None


class Completer(Task):
    """Completes texts."""

    does = frozenset({COMPLETES})

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.outputs = (Tensor("generated", "BYTES", (-1,)),)

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        import numpy as np

        made = []
        for text in self._texts(given):
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
        return self._pieces(ids, wish, self._forms.of(wish.forms) if wish.forms else None)

    @cached_property
    def _forms(self) -> Forms:
        return Forms(self._tokenizer, self.vocabulary, self._ends)

    @property
    def _ends(self) -> list[int]:
        """The tokens that end a text."""
        ends = self._model.generation_config.eos_token_id
        return [end for end in (ends if isinstance(ends, list) else [ends]) if end is not None]

    def _pieces(self, ids: Any, wish: Wish, form: Followed | None) -> Iterator[Piece]:
        transformers: Any = importlib.import_module("transformers")
        encodes = bool(self._model.config.is_encoder_decoder)
        streamer = transformers.TextIteratorStreamer(
            self._tokenizer, skip_prompt=not encodes, skip_special_tokens=True, timeout=STEP_S
        )
        state = _State()
        length = 1 if encodes else int(ids["input_ids"].shape[1])

        chooser = Chooser(self._torch, self._tokenizer, wish, length, self._device, form)

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
                    state.ended = int(made[0, -1]) in self._ends
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
