"""What can be filtered by: the properties that the catalog's models have, with their values."""

from collections.abc import Iterator, Sequence

from zeroflow.functions.register.catalog import search
from zeroflow.functions.register.catalog.sources import Document, Model

MAX_VALUES = 100
"""A text property with more values than these is for searching, not for choosing from."""
_FIELDS = ("provider", "license", "language", "tasks", "maturity", "libraryName")


def filter_options(models: Sequence[Model]) -> dict[str, Document]:
    """Return {property: {type: string, values} or {type: number, range: {min, max}}}."""
    found: dict[str, set[str | float]] = {}
    for model in models:
        read = search.values_of_model(model)
        for name in dict.fromkeys(_names(model)):
            values = read(name, None)
            found.setdefault(name, set()).update(one for one in values if not isinstance(one, bool))
    options: dict[str, Document] = {}
    for name, seen in sorted(found.items()):
        texts = sorted(one for one in seen if isinstance(one, str))
        numbers = [one for one in seen if not isinstance(one, str)]
        if numbers and not texts:
            options[name] = {"type": "number", "range": {"min": min(numbers), "max": max(numbers)}}
        elif texts and len(texts) <= MAX_VALUES:
            options[name] = {"type": "string", "values": texts}
    return options


def _names(model: Model) -> Iterator[str]:
    yield from (name for name in _FIELDS if name in model.document)
    yield from model.document.get("customProperties", ())
    for artifact in model.artifacts:
        yield from (f"artifacts.{name}" for name in artifact.get("customProperties", ()))
