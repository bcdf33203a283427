"""Reads the values of a ConfigMap as Knative does; refuses what cannot be read. Source: knative.dev/pkg/configmap."""

from __future__ import annotations

import math
from collections.abc import Mapping

from zeroflow.errors import InvalidInput
from zeroflow.knative.local.serving.scaling import duration_s

_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
_INT64_MAX = 2**63 - 1


class Data:
    """The data of a ConfigMap; each method returns `default` for a key that is not there."""

    def __init__(self, data: Mapping[str, str]) -> None:
        self._data = data

    def text(self, key: str, default: str) -> str:
        return str(self._data.get(key, default))

    def flag(self, key: str, *, default: bool) -> bool:
        written = self._data.get(key)
        if written is None:
            return default
        if written.lower() not in _TRUE + _FALSE:
            raise InvalidInput(f'failed to parse "{key}": {written!r} is neither true nor false')
        return written.lower() in _TRUE

    def number(self, key: str, default: float) -> float:
        written = self._data.get(key)
        if written is None:
            return default
        try:
            value = float(written)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InvalidInput(f'failed to parse "{key}": {written!r} is no number')
        return value

    def whole(self, key: str, default: int) -> int:
        written = self._data.get(key)
        if written is None:
            return default
        try:
            value = int(written)
        except ValueError:
            raise InvalidInput(f'failed to parse "{key}": {written!r} is no whole number') from None
        if abs(value) > _INT64_MAX:
            raise InvalidInput(f'failed to parse "{key}": {written} is out of range')
        return value

    def span_s(self, key: str, default: float) -> float:
        written = self._data.get(key)
        if written is None:
            return default
        value = duration_s(written.removeprefix("-"))
        if value is None:
            raise InvalidInput(f'failed to parse "{key}": {written!r} is no duration, such as 90s or 1m30s')
        return -value if written.startswith("-") else value


def check(holds: bool, message: str) -> None:
    """Raise InvalidInput with `message` when something does not hold."""
    if not holds:
        raise InvalidInput(message)
