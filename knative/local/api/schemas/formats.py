"""The formats of strings that the API server knows; others say nothing. Source: kube-openapi strfmt."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
import uuid
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final
from urllib.parse import urlsplit

_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:?\d{2})")
_SPAN: Final = re.compile(r"[-+]?(\d+(\.\d+)?\s*[a-zµ]+\s*)+")
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-zµ]+)")
_HOST: Final = re.compile(
    r"(?=.{1,255}$)[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?)*"
)
_MAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_MAC: Final = re.compile(r"([0-9A-Fa-f]{2}[:-]){5}([0-9A-Fa-f]{2}[:-]?){1,15}|([0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4}")
UNITS_S: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
}


def fits(format_: str, text: str) -> bool:
    """Say whether a string has a format; an unknown format fits everything."""
    check = CHECKS.get(format_.replace("-", ""))
    if check is None:
        return True
    try:
        return bool(check(text))
    except (ValueError, binascii.Error):
        return False


def moment(text: str) -> datetime:
    """Read a date or date-time; raise ValueError."""
    if _TIME.fullmatch(text):
        return datetime.fromisoformat(text.upper())
    return datetime.fromisoformat(f"{date.fromisoformat(text).isoformat()}T00:00:00+00:00")


def span(text: str) -> timedelta:
    """Read a duration such as 1h30m; raise ValueError."""
    if _SPAN.fullmatch(text) is None:
        raise ValueError(f"{text!r} is no duration")
    parts = [(float(number), unit) for number, unit in _PART.findall(text)]
    if any(unit not in UNITS_S for _, unit in parts):
        raise ValueError(f"{text!r} has an unknown unit")
    seconds = sum(number * UNITS_S[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def _address(version: int) -> Callable[[str], bool]:
    return lambda text: ipaddress.ip_address(text).version == version


def _uuid(version: int | None) -> Callable[[str], bool]:
    return lambda text: version is None or uuid.UUID(text).version == version


def _url(text: str) -> bool:
    found = urlsplit(text)
    return bool(found.scheme and (found.netloc or found.path)) or text.startswith("/")


CHECKS: Final[dict[str, Callable[[str], object]]] = {
    "date": lambda text: len(text) == 10 and date.fromisoformat(text),
    "datetime": lambda text: _TIME.fullmatch(text) and moment(text),
    "duration": lambda text: span(text) is not None,
    "byte": lambda text: base64.b64decode(text, validate=True) is not None,
    "email": _MAIL.fullmatch,
    "hostname": _HOST.fullmatch,
    "ipv4": _address(4),
    "ipv6": _address(6),
    "cidr": lambda text: "/" in text and ipaddress.ip_network(text, strict=False),
    "mac": _MAC.fullmatch,
    "uri": _url,
    "uuid": lambda text: uuid.UUID(text) is not None,
    "uuid3": _uuid(3),
    "uuid4": _uuid(4),
    "uuid5": _uuid(5),
}
