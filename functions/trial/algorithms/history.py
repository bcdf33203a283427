"""What a suggestion follows from: the search space, a seed, and what the earlier trials did.

Suggestion `n` of an Experiment is a function of these alone, so that it can be made again from what is recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from zeroflow.tuning.spec import Parameter


@dataclass(frozen=True)
class Tried:
    """One earlier suggestion."""

    parameters: Mapping[str, str]
    value: float | None = None
    """The objective's value, None while there is none."""
    running: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """A search as far as it has come."""

    parameters: tuple[Parameter, ...]
    settings: Mapping[str, str]
    maximize: bool
    seed: int
    history: tuple[Tried, ...] = ()

    @property
    def number(self) -> int:
        """The number of the suggestion that is wanted, from 0."""
        return len(self.history)

    def seed_of(self, purpose: str = "") -> int:
        """Return the seed of this suggestion: 32 bits that follow from the search's seed and the number."""
        digest = hashlib.sha256(f"{self.seed}/{self.number}/{purpose}".encode()).digest()
        return int.from_bytes(digest[:4], "big")

    def loss(self, tried: Tried) -> float:
        """Return the value of a finished trial as something to be made small."""
        assert tried.value is not None
        return -tried.value if self.maximize else tried.value


@dataclass(frozen=True)
class Suggested:
    """The next parameters, and what the algorithm wants to remember with them."""

    parameters: Mapping[str, str]
    labels: Mapping[str, str] = field(default_factory=dict)
