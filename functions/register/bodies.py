"""Reading JSON from outside: strict where Python's parser is lenient.

Guarantees: what is returned can be stored and given back unchanged. Refused with InvalidInput: bytes that are not
UTF-8, text that is not one JSON object, duplicate keys, NaN and infinities, numbers that no database holds, NUL
characters and lone surrogates anywhere, nesting that exhausts the parser.
"""

import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from zeroflow.errors import InvalidInput


def read_object(body: bytes) -> dict[str, Any]:
    """Parse a request body that must be one JSON object."""
    if not body.strip():
        raise InvalidInput("the body is empty; expected a JSON object")
    try:
        document = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_float=_finite,
        )
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the body is not UTF-8: byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"the body is not JSON: {error}") from error
    except RecursionError:
        raise InvalidInput("the body is nested too deeply") from None
    except ValueError as error:
        raise InvalidInput(f"the body is not usable JSON: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"the body must be a JSON object, got {json_type(document)}")
    check_text(document, "the body")
    return document


def check_text(document: Any, where: str) -> None:
    """Raise InvalidInput when a string in `document` holds what PostgreSQL or UTF-8 cannot: NUL, a lone surrogate."""
    waiting = [document]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            if "\0" in value:
                raise InvalidInput(f"{where} has a NUL character")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise InvalidInput(f"{where} has half of a surrogate pair, which is no character")
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def json_type(value: Any) -> str:
    """Name the JSON type of a parsed value."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {repeated!r} is there twice")
    return document


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text[:40]} is too large for a number")
    return value
