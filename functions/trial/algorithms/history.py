"""What a suggestion follows from: the search space, a seed, and what the earlier trials did.

Suggestion `n` of an Experiment is a function of these alone, so that it can be made again from what is recorded.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from zeroflow.tuning.spec import Parameter

INFEASIBLE_TRIES = 500
"""How many assignments are drawn until one fulfils the constraints."""


class Wait:
    """Says that the next suggestion depends on trials that have not ended."""


WAIT: Final = Wait()


@dataclass(frozen=True)
class Tried:
    """One earlier suggestion."""

    parameters: Mapping[str, str]
    value: float | None = None
    """The objective's value, None while there is none."""
    running: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    values: tuple[float | None, ...] = ()
    """Of a search with several objectives: the value of each."""
    name: str = ""
    inactive: frozenset[str] = frozenset()
    """Parameters that were not searched here, because the condition on them did not hold."""
    memory: str = ""
    """What the algorithm remembered with this suggestion."""


@dataclass(frozen=True)
class Search:
    """A search as far as it has come."""

    parameters: tuple[Parameter, ...]
    settings: Mapping[str, str]
    maximize: bool
    seed: int
    history: tuple[Tried, ...] = ()
    prior: tuple[Tried, ...] = ()
    """Trials of earlier Experiments that this one learns from; they count for no number."""
    nas: Mapping[str, Any] | None = None
    directions: Sequence[bool] = ()
    """Of a search with several objectives: whether each is maximised."""
    is_feasible: Callable[[Mapping[str, str]], bool] = lambda _: True
    attempt: int = 0
    """Counts the assignments that were drawn for this suggestion and did not fulfil the constraints."""

    @property
    def number(self) -> int:
        """The number of the suggestion that is wanted, from 0."""
        return len(self.history)

    @property
    def known(self) -> tuple[Tried, ...]:
        """Every trial that can be learned from."""
        return (*self.prior, *self.history)

    def seed_of(self, purpose: str = "") -> int:
        """Return the seed of this suggestion: 32 bits that follow from the search's seed and the number."""
        again = f"/{self.attempt}" if self.attempt else ""
        digest = hashlib.sha256(f"{self.seed}/{self.number}/{purpose}{again}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def chance(self, purpose: str = "") -> random.Random:
        """Return the source of chance of this suggestion."""
        return random.Random(self.seed_of(purpose))  # noqa: S311  # not a secret: it must be repeatable

    def loss(self, tried: Tried) -> float:
        """Return the value of a finished trial as something to be made small."""
        assert tried.value is not None
        return -tried.value if self.maximize else tried.value


@dataclass(frozen=True)
class Suggested:
    """The next parameters, and what the algorithm wants to remember with them."""

    parameters: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
    repairs: bool = False
    """The algorithm has seen to the constraints itself."""
    memory: str = ""
    """What the algorithm goes on from, where the history does not tell it."""


Algorithm = Callable[[Search], Suggested | Wait | None]
"""Returns the next suggestion, WAIT, or None when the search has come to its end."""
