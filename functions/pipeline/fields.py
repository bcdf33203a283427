"""Reading untrusted JSON: each reader returns a value of the asked type or raises InvalidInput naming the place."""

from collections.abc import Collection, Iterable
from typing import Any

from zeroflow.errors import InvalidInput

JSON_NAMES = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def found(value: Any) -> str:
    """Describe a value in a message."""
    if value is None:
        return "nothing"
    shown = repr(value)
    return f"{JSON_NAMES.get(type(value), type(value).__name__)} {shown if len(shown) <= 60 else shown[:57] + '...'}"


def mapping(value: Any, where: str) -> dict[str, Any]:
    """Return an object; an absent one is empty."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{where} must be an object, found {found(value)}")
    return value


def sequence(value: Any, where: str) -> list[Any]:
    """Return a list; an absent one is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidInput(f"{where} must be a list, found {found(value)}")
    return value


def text(value: Any, where: str) -> str:
    """Return a text; an absent one is empty."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"{where} must be a text, found {found(value)}")
    return value


def required_text(value: Any, where: str) -> str:
    """Return a text that is not empty."""
    read = text(value, where)
    if not read:
        raise InvalidInput(f"{where} is required")
    return read


def flag(value: Any, where: str) -> bool:
    """Return a truth value; an absent one is false."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise InvalidInput(f"{where} must be true or false, found {found(value)}")
    return value


MAX_DEPTH = 200
"""Of values within values; a compiled pipeline has about 20."""


class TooDeep(InvalidInput):
    """Something nests more deeply than what works on it can follow."""

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} nests values more than {MAX_DEPTH} deep")


def check_depth(value: Any, where: str) -> None:
    """Raise TooDeep for JSON that nests too deeply."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [part for one in level if isinstance(one, dict | list) for part in _parts(one)]
        if not level:
            return
    raise TooDeep(where)


def _parts(value: dict[str, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


_OPAQUE = ("parameters", "pipeline_spec", "platform_spec", "tags", "plugins_input")
"""Fields whose content is the sender's own."""


def snake_names(body: dict[str, Any]) -> dict[str, Any]:
    """Spell the fields of a message in snake_case; a protobuf in JSON may name them in camelCase as well."""
    read: dict[str, Any] = {}
    for spelt, value in body.items():
        name = snake(spelt)
        read[name] = snake_names(value) if isinstance(value, dict) and name not in _OPAQUE else value
    return read


def snake(name: str) -> str:
    """Spell a name in snake_case."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def only(value: dict[str, Any], known: Collection[str], where: str) -> None:
    """Refuse a field that the reader does not know, since ignoring it would change what the sender meant."""
    for name in value:
        if name not in known:
            raise InvalidInput(f"{where} has an unknown field {name!r}")
