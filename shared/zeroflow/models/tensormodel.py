"""A loaded model that takes and gives named tensors of any shape: an ONNX graph, a TorchScript module.

Guarantees: safe to call from several threads.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from zeroflow.models.estimator import Tensor

if TYPE_CHECKING:
    import numpy as np

Run = Callable[[Mapping[str, Any], tuple[str, ...]], "dict[str, np.ndarray[Any, Any]]"]


@dataclass(frozen=True)
class Faster:
    """How a model is run, and why in this form."""

    run: Run
    why: str
    """For people."""
    width: int | None = None
    """Columns of the one matrix that it takes, where it only computes on this processor."""
    parts: tuple[tuple[str, ...], ...] = ()
    """Of a network that is compiled: its steps, each with the names of its parameters (compiled.networks.Step)."""


COMPLETES, EMBEDS, RANKS = "completes", "embeds", "ranks"


@dataclass(frozen=True)
class Form:
    """A JSON document that fits a schema, between two texts."""

    schema: Mapping[str, Any]
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Wish:
    """How a text is to be completed (the parameters of OpenAI's API)."""

    max_tokens: int = 16
    is_default: bool = False
    """Nobody asked for that many: fewer will do, where the model has no room for them after the prompt."""
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = ()
    """Token ids, each with what is added to its logit."""
    logprobs: int | None = None
    """How many of the likeliest tokens to tell beside each that was taken; None tells of none."""
    forms: tuple[Form, ...] = ()
    """What the completion must be: one of these; anything when there are none."""


@dataclass(frozen=True)
class Chosen:
    """A token that was taken, with its log-probability and the likeliest ones at its place."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...]
    offset: int
    """Characters of the completion before it."""


@dataclass(frozen=True)
class Piece:
    """A part of a completion; the last one has a reason: `stop` or `length`."""

    text: str
    tokens: int
    reason: str | None = None
    chosen: tuple[Chosen, ...] = ()
    """The tokens that begin in this part, where the wish asks for them."""


class Language(Protocol):
    """A model of text. Safe to use from several threads."""

    does: frozenset[str]
    """COMPLETES, EMBEDS, RANKS: the methods below that are for this model."""
    vocabulary: int
    """Token ids are below it."""

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""

    def prompt_of(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> str:
        """Return the text that stands for a chat, as the model's own template writes it.

        Raises ValueError when the template has no place for tools, or calls them in a form that is not known here.
        """

    def complete(self, prompt: str, wish: Wish) -> Iterator[Piece]:
        """Yield the completion of a text in pieces.

        Raises ValueError when the text is too long for the model, or no text can be made of the forms that are wished.
        """

    def embed(self, texts: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return one vector for each text: (texts, dimensions), float32."""

    def rank(self, query: str, documents: Sequence[str]) -> "np.ndarray[Any, Any]":
        """Return how relevant each document is to the query: (documents,), float32, more is better."""


@dataclass(frozen=True)
class TensorModel:
    """A model behind the one call that serving needs."""

    kind: str
    """What it is, for people."""
    sha256: str
    """Content hash of the bytes it was loaded from."""
    platform: str
    """Framework and form, as the Open Inference Protocol's metadata name them."""
    inputs: tuple[Tensor, ...]
    """A shape of () means that the model does not say."""
    outputs: tuple[Tensor, ...]
    run: Run = field(repr=False)
    """Answer the outputs that are named; ValueError when the model refuses its inputs."""
    serves: str = "original"
    width: int | None = None
    """Columns of the one matrix that it takes, where it only computes on this processor."""
    parts: tuple[tuple[str, ...], ...] = ()
    """Of a network that is compiled: its steps, as `Faster` has them."""
    language: "Language | None" = field(default=None, repr=False)
    """What it does with text, for models that complete or embed it."""
    only_in: int | None = None
    """The id of the one process that can ask it; None when a fork of that process can as well (devices)."""
    keeps: Any = field(default=None, repr=False)
    """Whatever must live as long as the model."""
