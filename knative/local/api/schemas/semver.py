"""Semantic versions as Kubernetes' CEL library reads and compares them. Source: semver.org 2.0.0; k8s.io/apiserver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

NUMBERS: Final = re.compile(r"[.+-]")
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PRERELEASE: Final = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRERELEASE}(?:\.{_PRERELEASE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_LENIENT: Final = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?([+-].*)?")


def read_semver(text: str, *, lenient: bool = False) -> str:
    """Return a version; `lenient` takes a leading v, missing parts and leading zeros. Raises ValueError."""
    if lenient and (match := _LENIENT.fullmatch(text.strip())) is not None:
        text = ".".join(str(int(part or 0)) for part in match.groups()[:3]) + (match[4] or "")
    if _SEMVER.fullmatch(text) is None:
        raise ValueError(f"invalid semantic version: {text!r}")
    return text


def order_of(value: Mapping[str, str]) -> tuple[Any, ...]:
    """Return what versions are compared by: a version comes after its pre-releases, numbers before words."""
    version, _, prerelease = value["semver"].partition("+")[0].partition("-")
    numbers = tuple(int(part) for part in version.split("."))
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in prerelease.split("."))
    return (*numbers, 0, parts) if prerelease else (*numbers, 1, ())
