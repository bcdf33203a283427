"""What the kinds of text models have in common: a tokenizer, a model, the most tokens that it takes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zeroflow.models.estimator import Tensor
from zeroflow.models.huggingface.options import AS_IT_IS, TextOptions
from zeroflow.models.tensormodel import Piece, Wish

if TYPE_CHECKING:
    import numpy as np

INPUT = Tensor("text", "BYTES", ())
"""Texts one by one; clients write that as [n], [n, 1] or, of one text, as []."""


class Task:
    """What a model does with text; each kind has some of a Language's methods, and says which."""

    outputs: tuple[Tensor, ...]
    does: frozenset[str] = frozenset()

    def run(self, given: Mapping[str, Any], wanted: tuple[str, ...]) -> "dict[str, np.ndarray[Any, Any]]":
        raise NotImplementedError

    def __init__(
        self, torch: Any, tokenizer: Any, model: Any, device: str, place: Path, options: TextOptions = AS_IT_IS
    ) -> None:
        self._torch, self._tokenizer, self._model, self._device, self._place = torch, tokenizer, model, device, place
        self._options = options
        known = getattr(model.config, "max_position_embeddings", None) or getattr(model.config, "n_positions", None)
        limits = [int(each) for each in (known, options.max_model_len) if each]
        self._longest = min(limits) if limits else None
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

    def _texts(self, given: Mapping[str, Any]) -> list[str]:
        """Return the texts of a request; raise ValueError when they do not come one by one."""
        array = given[INPUT.name]
        if array.ndim > 1 and array.shape[1:] != (1,):
            raise ValueError(f"input {INPUT.name!r} takes texts of shape [n] or [n, 1], got {list(array.shape)}")
        return [str(text) for text in array.reshape(-1)]

    def _encoded(self, texts: Sequence[str], seconds: Sequence[str] | None = None) -> Any:
        """Return the tokens of texts, or of pairs of texts."""
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token or self._tokenizer.unk_token
        special = {"add_special_tokens": False} if self._options.disable_special_tokens else {}
        longest = {"truncation": True, "max_length": self._longest} if self._longest else {}
        pairs = [list(texts)] if seconds is None else [list(texts), list(seconds)]
        encoded = self._tokenizer(*pairs, padding=True, return_tensors="pt", **longest, **special)
        return encoded.to(self._device)
