"""Texts of the form that is asked for, token by token: a JSON document that fits a schema, between two given texts.

A model's tokenizer is read once, for its first such wish, which takes about a second for a vocabulary of 150,000.

Sources: JSON Schema 2020-12, as far as llguidance has it (what it has not is refused in its words); llguidance's
grammars (a dialect of Lark, `%json`).
"""

import importlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from zeroflow.models.tensormodel import Form

if TYPE_CHECKING:
    import numpy as np

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As most texts write JSON; a weak model that may put in spaces puts in nothing else."""
NOTHING = '""'


class Followed:
    """Forms, one of which a text follows. For one thread."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> "np.ndarray[Any, Any]":
        """Return which tokens may come next: (vocabulary,), bool; the end is one of them where the text may end."""
        import numpy as np

        words = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(words, bitorder="little", count=self._vocabulary).astype(bool)

    def took(self, token: int) -> None:
        """Go on after a token, one of those that were allowed."""
        if not self._matcher.is_stopped():  # what comes after is the end
            self._matcher.consume_token(token)


class Forms:
    """The forms that texts of one tokenizer can have. For several threads."""

    def __init__(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        """Read the tokenizer; raise ValueError when that cannot be done here. `ends`: tokens that end a text."""
        if not ends:
            raise ValueError("texts of a form need a model that says which token ends a text")
        try:
            self._library: Any = importlib.import_module("llguidance")
        except ImportError as error:
            raise ValueError("texts of a form need llguidance, which is not installed here") from error
        inner = getattr(tokenizer, "backend_tokenizer", None)
        if inner is None:
            raise ValueError("texts of a form need a tokenizer of the tokenizers library, which this model has not")
        self._vocabulary = vocabulary
        try:
            self._tokens = self._library.LLTokenizer(inner.to_str(), n_vocab=vocabulary, eos_token=list(ends))
        except Exception as error:  # whatever its Rust side raises
            raise ValueError(f"texts of a form cannot be made with this model's tokenizer: {error}") from error

    def of(self, forms: Sequence[Form]) -> Followed:
        """Return forms to follow; raise ValueError saying what is wrong with a schema."""
        try:
            grammar = _grammar(forms)
        except RecursionError:
            raise ValueError("the schema cannot be followed: it is nested too deeply") from None
        if said := self._library.LLMatcher.validate_grammar(grammar, self._tokens):
            reason = said.splitlines()[0].rpartition("JSON schema: ")[2]
            raise ValueError(f"the schema cannot be followed: {reason[:300]}")
        return Followed(self._library.LLMatcher(self._tokens, grammar, log_level=0), self._vocabulary)


def _grammar(forms: Sequence[Form]) -> str:
    rules = ["start: " + " | ".join(f"form{at}" for at in range(len(forms)))]
    for at, form in enumerate(forms):
        parts = [json.dumps(form.before), f"document{at}", json.dumps(form.after)]
        rules.append(f"form{at}: {' '.join(part for part in parts if part != NOTHING)}")
        rules.append(f"document{at}: %json {json.dumps({**form.schema, 'x-guidance': SPACING})}")
    return "\n".join(rules)
