"""The random numbers that Optuna's samplers draw, from where a suggestion begins.

Optuna keeps one Mersenne Twister for as long as a study is in memory. Every suggestion draws a known count of numbers
from it, so that a twister with the same seed, moved forward by what the suggestions before have drawn, goes on as that
one would: a search that keeps nothing between events suggests, bit for bit, what Optuna suggests in one process.
"""

from __future__ import annotations

import random

WORDS = 624
WORD = 0xFFFFFFFF


def forwarded(seed: int, drawn: int) -> random.Random:
    """Return a source of chance as `numpy.random.RandomState(seed)` is one, after so many numbers were drawn."""
    words = [seed & WORD]
    for at in range(1, WORDS):  # Python seeds its own twister in another way
        words.append((1812433253 * (words[-1] ^ (words[-1] >> 30)) + at) & WORD)
    chance = random.Random()  # noqa: S311  # not a secret: it must be repeatable
    chance.setstate((3, (*words, WORDS), None))
    for _ in range(drawn):
        chance.random()
    return chance
