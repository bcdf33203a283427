"""Kubernetes' quantities: a decimal number with a suffix (m, k, M, Ki, Mi, ...) or an exponent; none here is negative.

Source: Kubernetes apimachinery, pkg/api/resource (Quantity, its grammar).
"""

import re

from zeroflow.errors import InvalidInput

_QUANTITY = re.compile(r"\+?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,3})?")
_SCALE = {"n": 1e-9, "u": 1e-6, "m": 1e-3} | {
    f"{letter}{suffix}": base ** (power + 1)
    for suffix, base in (("", 1000.0), ("i", 1024.0))
    for power, letter in enumerate("KMGTPE" if suffix else "kMGTPE")
}


def amount(written: object) -> float:
    """Return a quantity as a number; raise InvalidInput for another notation."""
    match = _QUANTITY.fullmatch(str(written))
    if match is None:
        raise InvalidInput(f"{str(written)[:80]!r} is no quantity such as 500m, 2 or 4Gi")
    suffix = match[2] or ""
    if len(suffix) > 1 and suffix[0] in "eE" and suffix != "Ei":
        return float(f"{match[1]}{suffix}")
    return float(match[1]) * _SCALE.get(suffix, 1.0)


def text_of_bytes(size_bytes: float) -> str:
    """Write a number of bytes as manifests do: in whole Gi, Mi or Ki where it is that."""
    for power, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes / 1024**power:.0f}{suffix}"
    return f"{size_bytes:.0f}"
