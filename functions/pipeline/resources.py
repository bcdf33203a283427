"""How much of a machine a step asks for, as Kubernetes spells it: `{"limits": {...}, "requests": {...}}`.

A quantity, an accelerator's type and its count may be placeholders for parameters; they are checked when they are
filled in, constants when the pipeline is submitted.
Source: PipelineContainerSpec.ResourceSpec of KFP's pipeline_spec.proto; Kubernetes resource quantities.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import placeholders
from zeroflow.functions.pipeline.fields import found, mapping, only

_QUANTITY = re.compile(r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$")
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._/-]{0,251}[A-Za-z0-9])?$")
_NUMBERS = ("cpuLimit", "memoryLimit", "cpuRequest", "memoryRequest")
_TEXTS = tuple(f"resource{name[0].upper()}{name[1:]}" for name in _NUMBERS)

Resources = dict[str, dict[str, str]]
NATIVE = ("cpu", "memory", "ephemeral-storage")
"""What every node has; anything else is a device."""


def resources_of(container: Mapping[str, Any], where: str) -> Resources:
    """Read what a container asks for; nothing asked is an empty mapping."""
    spec = mapping(container.get("resources"), f"{where}: resources")
    only(spec, (*_NUMBERS, *_TEXTS, "accelerator"), f"{where}: resources")
    asked: Resources = {}
    for number, name in zip(_NUMBERS, _TEXTS, strict=True):
        resource, word = ("cpu", number[3:]) if number.startswith("cpu") else ("memory", number[6:])
        value = spec.get(name)
        if not value and spec.get(number):  # before 2.10 the SDK wrote numbers: cores, and gigabytes
            value = f"{spec[number]:g}" if resource == "cpu" else f"{spec[number]:g}G"
        if value:
            asked.setdefault(f"{word.lower()}s", {})[resource] = _checked(value, f"{where}: {name}")
    accelerator = mapping(spec.get("accelerator"), f"{where}: accelerator")
    only(accelerator, ("type", "count", "resourceType", "resourceCount"), f"{where}: accelerator")
    kind, count = accelerator.get("resourceType") or accelerator.get("type"), _count(accelerator)
    if kind and count not in ("", "0"):
        if not isinstance(kind, str) or not ("{{$" in kind or _NAME.match(kind)):
            raise InvalidInput(f"{where}: the accelerator's type {kind!r} is no resource such as nvidia.com/gpu")
        asked.setdefault("limits", {})[kind] = _checked(count, f"{where}: accelerator count")
    return asked


def filled(asked: Resources, parameters: Callable[[str], Any], context: Mapping[str, str]) -> Resources:
    """Fill the placeholders in what a step asks for; what turns out empty or zero is not asked for."""
    result: Resources = {}
    for kind, quantities in asked.items():
        for name, quantity in quantities.items():
            resource = placeholders.as_text(placeholders.fill(name, parameters, context)).strip()
            value = placeholders.as_text(placeholders.fill(quantity, parameters, context)).strip()
            if resource and value and value != "0":
                result.setdefault(kind, {})[resource] = _checked(value, f"the step's {resource} {kind[:-1]}")
    return result


def devices(asked: Resources) -> dict[str, int]:
    """Return the accelerators among what is asked for, and how many of each; placeholders are left out."""
    return {
        name: int(count)
        for name, count in asked.get("limits", {}).items()
        if name not in NATIVE and "{{$" not in name and count.isdigit()
    }


def _count(accelerator: Mapping[str, Any]) -> str:
    count = accelerator.get("resourceCount") or accelerator.get("count") or ""
    return f"{count:g}" if isinstance(count, float) else str(count)


def _checked(value: Any, where: str) -> str:
    if isinstance(value, str) and ("{{$" in value or _QUANTITY.match(value)):
        return value
    raise InvalidInput(f"{where} must be a quantity such as 500m, 2 or 4Gi, found {found(value)}")
