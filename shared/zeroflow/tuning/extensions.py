"""What Katib's Experiment has no field for, as annotations, which official clients keep.

* `zeroflow.dev/max-duration`: `90s`, `30m`, `2h` - how long the Experiment may run in all (katib#1151).
* `zeroflow.dev/constraints`: JSON list of conditions that every assignment fulfils.
* `zeroflow.dev/conditional`: JSON object, parameter -> {"when": condition, "otherwise": value}: the parameter is
  searched only where the condition holds, and has the other value elsewhere.
* `zeroflow.dev/warm-start`: earlier Experiments of the namespace, by name, whose trials the search learns from.
* `zeroflow.dev/register-as`: the registered model that the best trial's model becomes a version of.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zeroflow.tuning import expressions
from zeroflow.tuning.spec import Object

Fault = tuple[str, str]
PREFIX = "zeroflow.dev/"
MAX_DURATION, CONSTRAINTS, CONDITIONAL = f"{PREFIX}max-duration", f"{PREFIX}constraints", f"{PREFIX}conditional"
WARM_START, REGISTER_AS = f"{PREFIX}warm-start", f"{PREFIX}register-as"
DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(s|m|h)?")
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


@dataclass(frozen=True)
class Conditional:
    """When a parameter is searched, and its value elsewhere."""

    when: str
    otherwise: str


@dataclass(frozen=True)
class Extensions:
    """What an Experiment's annotations ask for."""

    max_duration_s: float | None = None
    constraints: tuple[str, ...] = ()
    conditional: Mapping[str, Conditional] = field(default_factory=dict)
    warm_start: tuple[str, ...] = ()
    register_as: str | None = None


def parse_extensions(metadata: Object) -> Extensions:
    """Read annotations that are valid."""
    given = metadata.get("annotations") or {}
    conditional = json.loads(given.get(CONDITIONAL) or "{}")
    return Extensions(
        max_duration_s=_seconds(given[MAX_DURATION]) if given.get(MAX_DURATION) else None,
        constraints=tuple(json.loads(given.get(CONSTRAINTS) or "[]")),
        conditional={name: Conditional(each["when"], str(each["otherwise"])) for name, each in conditional.items()},
        warm_start=tuple(name for name in re.split(r"[,\s]+", given.get(WARM_START) or "") if name),
        register_as=given.get(REGISTER_AS) or None,
    )


def extension_faults(metadata: Object, parameters: list[Any]) -> Iterator[Fault]:
    """Yield (field, fault) of every annotation that is wrong."""
    given = metadata.get("annotations") or {}
    names = {str(each.get("name")) for each in parameters if isinstance(each, dict)}
    duration = given.get(MAX_DURATION)
    if duration and not _seconds(duration):
        yield _field(MAX_DURATION), f'Invalid value: "{duration}": expected a duration as 90s, 30m or 2h'
    yield from _constraints(given.get(CONSTRAINTS), names)
    yield from _conditional(given.get(CONDITIONAL), names)


def _constraints(written: Any, names: set[str]) -> Iterator[Fault]:
    found = _json(written, list) if written else []
    if found is None:
        yield _field(CONSTRAINTS), f'Invalid value: "{written}": expected a JSON list of conditions'
    for condition in found or ():
        if (wrong := expressions.fault(condition, names)) is not None:
            yield _field(CONSTRAINTS), f"Invalid value: {json.dumps(condition)}: {wrong}"


def _conditional(written: Any, names: set[str]) -> Iterator[Fault]:
    found = _json(written, dict) if written else {}
    if found is None:
        yield _field(CONDITIONAL), f'Invalid value: "{written}": expected a JSON object'
    for name, each in (found or {}).items():
        if name not in names:
            yield _field(CONDITIONAL), f'Invalid value: "{name}": spec.parameters has no such name'
        elif not isinstance(each, dict) or set(each) != {"when", "otherwise"}:
            yield _field(CONDITIONAL), f'Invalid value: "{name}": expected {{"when": condition, "otherwise": value}}'
        elif (wrong := expressions.fault(each["when"], names - {name})) is not None:
            yield _field(CONDITIONAL), f'Invalid value: "{name}": {wrong}'


def _json(text: Any, kind: type) -> Any:
    try:
        found = json.loads(text)
    except (TypeError, ValueError):
        return None
    return found if isinstance(found, kind) else None


def _seconds(written: Any) -> float | None:
    match = DURATION.fullmatch(str(written).strip())
    return (float(match[1]) * SECONDS[match[2]]) or None if match else None


def _field(annotation: str) -> str:
    return f"metadata.annotations[{annotation}]"
