"""The part of kubectl's JSONPath that printer columns use.

`.a.b`, `.a\\.b`, `['a.b']`, `[0]`, `[*]`, `[-1:]`, `[?(@.type=='Ready')]`. Unreadable paths find nothing: a column
must never break a listing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

TOKEN: Final = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\\])+)
      | \[\?\(\s*@(?P<path>(?:\.[^=!<>\s)]+)+)\s*(?P<op>==|!=)\s*(?P<value>'[^']*'|"[^"]*"|[^)\s]+)\s*\)\]
      | \[(?P<index>-?\d+|\*)\]
      | \[(?P<start>-?\d*):(?P<end>-?\d*)\]
      | \[(?P<quote>['"])(?P<key>(?:\\.|(?!(?P=quote)).)*)(?P=quote)\]""",
    re.VERBOSE,
)
Step = tuple[str, Any, Any]


def first(path: str, obj: Any) -> Any:
    """Return the first value at a path; None when there is none."""
    return next(_find(obj, _steps(path)), None)


@lru_cache(maxsize=256)
def _steps(path: str) -> tuple[Step, ...]:
    steps: list[Step] = []
    text, position = path.strip().removeprefix("{").removesuffix("}").removeprefix("$"), 0
    while position < len(text):
        match = TOKEN.match(text, position)
        if match is None:
            return (("nothing", None, None),)
        position = match.end()
        if match["field"] is not None:
            steps.append(("field", re.sub(r"\\(.)", r"\1", match["field"]), None))
        elif match["key"] is not None:
            steps.append(("field", re.sub(r"\\(.)", r"\1", match["key"]), None))
        elif match["index"] is not None:
            steps.append(("each", None, None) if match["index"] == "*" else ("item", int(match["index"]), None))
        elif match["start"] is not None:
            start, end = (int(match[side]) if match[side] else None for side in ("start", "end"))
            steps.append(("some", slice(start, end), None))
        else:
            steps.append(("where", _steps(match["path"]), (match["op"], _literal(match["value"]))))
    return tuple(steps)


def _literal(text: str) -> Any:
    if text[0] in "'\"":
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    try:
        return int(text)
    except ValueError:
        return text


def _find(value: Any, steps: tuple[Step, ...]) -> Iterator[Any]:
    if not steps:
        if value is not None:
            yield value
        return
    (what, argument, condition), rest = steps[0], steps[1:]
    if what == "field" and isinstance(value, dict):
        yield from _find(value.get(argument), rest)
    elif what == "item" and isinstance(value, list) and -len(value) <= argument < len(value):
        yield from _find(value[argument], rest)
    elif what == "some" and isinstance(value, list):
        for item in value[argument]:
            yield from _find(item, rest)
    elif what == "each" and isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _find(item, rest)
    elif what == "where" and isinstance(value, list):
        operator, wanted = condition
        for item in value:
            if (next(_find(item, argument), None) == wanted) is (operator == "=="):
                yield from _find(item, rest)
