"""YAML that others have written, read within bounds.

PyYAML's own scanner takes minutes for what is nested some ten thousand times; libyaml's, which its wheels have, takes a
millisecond to refuse it, and reads everything else ten times as fast. Aliases are few: a document of a hundred bytes
can name itself a billion times by them, which shows when it is walked or written.
"""

from typing import Any

import yaml

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
MAX_ALIASES = 8


def load(text: str | bytes) -> Any:
    """Return the one document of a text; raise yaml.YAMLError for what is none, or is too much."""
    try:
        if sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, LOADER)) > MAX_ALIASES:
            raise yaml.YAMLError(f"it has more than {MAX_ALIASES} aliases")
        return yaml.load(text, LOADER)  # noqa: S506 - one of the two safe loaders
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error
