"""How the next token is chosen while a text is completed, and what the model thought of it.

Guarantees: a completion's seed is its own - nothing global is seeded, so that requests side by side do not disturb each
other; the same wish with the same seed on the same machine gives the same text; log-probabilities are those of the
model after penalties and bias, before temperature, top_p and the form that a text must have.

Sources: OpenAI API reference (frequency and presence penalties, logit_bias, logprobs); Gumbel (1954): the largest of
logits with Gumbel noise is a sample of their distribution.
"""

from typing import Any

from zeroflow.models.huggingface.forms import Followed
from zeroflow.models.tensormodel import Chosen, Wish

CONTEXT = 8
"""Tokens before one that decide how its text is spaced."""


class Chooser:
    """Changes the logits of one sequence, (1, vocabulary), so that the largest is the token to take.

    `begun`: tokens of the sequence that were there before the completion. Called by transformers' generate, in one
    thread.
    """

    def __init__(
        self, torch: Any, tokenizer: Any, wish: Wish, begun: int, device: str, form: Followed | None = None
    ) -> None:
        """`form`: what the text must be, where the wish has forms."""
        self._torch, self._tokenizer, self._wish, self._begun = torch, tokenizer, wish, begun
        self._form = form
        self._noise = torch.Generator(device=device)
        if wish.seed is None:
            self._noise.seed()
        else:
            self._noise.manual_seed(wish.seed % (1 << 63))
        self._shares: Any = None
        self._special = set(tokenizer.all_special_ids)
        self._made = ""
        self.chosen: list[Chosen] = []

    def __call__(self, ids: Any, logits: Any) -> Any:
        """Return the logits to take the largest of."""
        wish, torch = self._wish, self._torch
        logits = logits.float()
        if wish.frequency_penalty or wish.presence_penalty:
            made, counts = ids[0, self._begun :].unique(return_counts=True)
            logits = logits.clone()
            logits[0, made] -= counts * wish.frequency_penalty + wish.presence_penalty
        if wish.logit_bias:
            tokens, biases = zip(*wish.logit_bias, strict=True)
            logits = logits.clone()
            logits[0, list(tokens)] += torch.tensor(biases, device=logits.device)
        if wish.logprobs is not None:
            self._shares = logits.log_softmax(-1)[0]
        if self._form is not None:
            allowed = torch.from_numpy(self._form.allowed()).to(logits.device)
            logits = logits.masked_fill(~allowed, float("-inf"))
        if not wish.temperature:
            return logits
        logits = logits / wish.temperature
        if wish.top_p < 1:
            logits = self._likeliest(logits)
        return logits - torch.empty_like(logits).exponential_(generator=self._noise).log()

    def took(self, ids: Any) -> None:
        """Note the token that was taken, the last one of `ids`."""
        if self._form is not None:
            self._form.took(int(ids[0, -1]))
        if self._shares is None or int(ids[0, -1]) in self._special:
            return
        token, context = int(ids[0, -1]), ids[0, max(self._begun, ids.shape[1] - 1 - CONTEXT) : -1].tolist()
        best, tokens = self._shares.topk(min(self._wish.logprobs or 0, self._shares.shape[0]))
        text = self._text(context, token)
        top = tuple((self._text(context, int(each)), float(share)) for each, share in zip(tokens, best, strict=True))
        self.chosen.append(Chosen(text, float(self._shares[token]), top, len(self._made)))
        self._made += text

    def _text(self, context: list[int], token: int) -> str:
        before = self._tokenizer.decode(context, skip_special_tokens=True)
        return str(self._tokenizer.decode([*context, token], skip_special_tokens=False)[len(before) :])

    def _likeliest(self, logits: Any) -> Any:
        """Leave the smallest number of tokens whose shares add up to top_p, one at least."""
        ordered, at = logits.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        beyond = before >= self._wish.top_p
        beyond[..., 0] = False
        return logits.masked_fill(beyond.scatter(-1, at, beyond), float("-inf"))
