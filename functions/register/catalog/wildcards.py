"""Texts against patterns with wildcards, in bounded time whatever the pattern, as regular expressions are not."""

import re
from collections.abc import Sequence

MANY, ONE = "many", "one"
Part = tuple[str, str]
"""(MANY, "") any characters, (ONE, "") one character, ("", c) this character."""

_LIKE = re.compile(r"\\(.)|(%)|(_)|(.)", re.DOTALL)


def of_like(pattern: str) -> list[Part]:
    """Read a pattern of SQL's LIKE; a backslash takes the meaning from what follows it."""
    return [
        (MANY if many else ONE if one else "", "" if many or one else escaped or plain)
        for escaped, many, one, plain in _LIKE.findall(pattern)
    ]


def of_glob(pattern: str) -> list[Part]:
    """Read a pattern whose only wildcard is `*`."""
    return [(MANY, "") if one == "*" else ("", one) for one in pattern]


def fits(text: str, pattern: Sequence[Part]) -> bool:
    """Match the whole text in at most len(text) * len(pattern) steps: on a mismatch the last MANY takes one more."""
    at = part = 0
    star, taken = -1, 0
    while at < len(text):
        wanted = pattern[part] if part < len(pattern) else None
        if wanted == (MANY, ""):
            star, taken = part, at
            part += 1
        elif wanted == (ONE, "") or wanted == ("", text[at]):
            at, part = at + 1, part + 1
        elif star >= 0:
            taken += 1
            at, part = taken, star + 1
        else:
            return False
    return all(one == (MANY, "") for one in pattern[part:])
