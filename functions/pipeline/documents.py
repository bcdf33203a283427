"""The text of a pipeline definition: JSON, or YAML of one document or two (the second is the platform spec).

Guarantees: YAML is read by the safe loader, and only after its aliases, expanded, were counted, so that no small text
becomes a large definition.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import orjson
import yaml

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.fields import MAX_DEPTH, TooDeep, check_depth
from zeroflow.safe_yaml import LOADER

MAX_BYTES = 32 << 20
"""Of a definition; KFP's API server takes as much."""
MAX_NODES = 5_000_000
"""Values in a definition, aliases expanded."""


def read(text: bytes) -> dict[str, Any]:
    """Return the definition: a PipelineSpec, or {pipeline_spec, platform_spec} of its two parts."""
    if len(text) > MAX_BYTES:
        raise InvalidInput(f"the pipeline package is larger than {MAX_BYTES >> 20} MiB")
    parts = [part for part in _parts(text) if part is not None]
    if not parts:
        raise InvalidInput("the pipeline package is empty")
    if len(parts) > 2 or not all(isinstance(part, dict) for part in parts):
        raise InvalidInput("the pipeline package must hold one PipelineSpec and perhaps one platform spec")
    return parts[0] if len(parts) == 1 else {"pipeline_spec": parts[0], "platform_spec": parts[1]}


def _parts(text: bytes) -> list[Any]:
    if text.lstrip()[:1] == b"{":
        with suppress(orjson.JSONDecodeError):  # JSON is YAML as well, and read much faster
            document = orjson.loads(text)
            check_depth(document, "the pipeline definition")
            return [document]
    try:
        return list(_yaml(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise InvalidInput(f"the pipeline package is not valid YAML{place}: {error.problem}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise InvalidInput(f"the pipeline package is not valid YAML: {why}") from error


def _yaml(text: bytes) -> Iterator[Any]:
    loader = LOADER(text)
    try:
        while loader.check_node():
            node = loader.get_node()
            assert node is not None
            _size(node, {}, 0)
            yield loader.construct_document(node)
    finally:
        loader.dispose()


def _size(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """Count the values below a node, each alias as what it stands for."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise InvalidInput("the pipeline package has a YAML alias that stands for itself")
        return known[id(node)]
    if isinstance(node, yaml.ScalarNode):
        return 1
    if depth > MAX_DEPTH:
        raise TooDeep("the pipeline definition")
    known[id(node)] = 0
    size = 1
    for item in node.value:
        for part in item if isinstance(item, tuple) else (item,):
            size += _size(part, known, depth + 1)
    if size > MAX_NODES:
        raise InvalidInput(f"the pipeline package has more than {MAX_NODES} values, its YAML aliases expanded")
    known[id(node)] = size
    return size
