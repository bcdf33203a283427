"""JSONata expressions: read once, evaluated within bounds.

Guarantees: one evaluation leaves nothing for the next (variables, time); it ends after a time and a depth of nesting.
Source: jsonata.org; the implementation is jsonata-python.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from jsonata import Jsonata
from jsonata.jexception import JException

from zeroflow.errors import InvalidInput

TIMEOUT_S = 10.0
MAX_DEPTH = 500
KEPT = 64


class Unreadable(InvalidInput):
    """The text is no JSONata expression."""


class Failed(InvalidInput):
    """The expression cannot be evaluated for this input."""


class Expressions:
    """The expressions that a thread has read lately: what one holds is not made for several threads."""

    def __init__(self, timeout_s: float = TIMEOUT_S, max_depth: int = MAX_DEPTH) -> None:
        self._timeout_s, self._max_depth = timeout_s, max_depth
        self._local = threading.local()

    def read(self, text: str) -> Jsonata:
        """Return the expression; raise Unreadable."""
        kept: OrderedDict[str, Jsonata] = self._local.__dict__.setdefault("kept", OrderedDict())
        if text not in kept:
            try:
                kept[text] = Jsonata(text)
            except JException as error:
                raise Unreadable(f"JSONata: {error} (at character {error.location})") from error
            except (RecursionError, ValueError) as error:
                raise Unreadable(f"JSONata: {error}") from error
            if len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(text)
        return kept[text]

    def evaluate(self, text: str, document: Any) -> Any:
        """Return what the expression makes of a JSON document; raise Unreadable or Failed."""
        expression = self.read(text)
        bounds = expression.create_frame()
        bounds.set_runtime_bounds(round(self._timeout_s * 1000), self._max_depth)
        try:
            made = expression.evaluate(document, bounds)
        except RecursionError as error:
            raise Failed("JSONata: the expression is nested too deeply") from error
        except MemoryError as error:
            raise Failed("JSONata: the result is too large for this function's memory") from error
        except Exception as error:  # the library raises what its functions do
            raise Failed(f"JSONata: {error}") from error
        if made is None:
            raise Failed("JSONata: the expression made nothing of this event; it must make a CloudEvent, or JSON")
        return made
