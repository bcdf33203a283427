"""The functions that Kubernetes adds to CEL: lists, regular expressions, URLs, quantities, versions, addresses, sets.

Values of its own types (quantity, semver, url, ip, cidr) are maps here, since the library's functions can return no
others; `indexOf` and `lastIndexOf` are those of strings alone, whose declarations cannot be added to.
Source: Kubernetes "Common Expression Language in Kubernetes", libraries.
"""

from __future__ import annotations

import ipaddress
import itertools
import re
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from cel_expr_python import cel

from zeroflow.knative.local.api.schemas.patterns import compiled
from zeroflow.knative.local.api.schemas.semver import NUMBERS, order_of, read_semver

_T: Final = cel.Type
_LIST: Final = _T.List(_T.DYN)
_MAP: Final = _T.Map(_T.DYN, _T.DYN)
_QUANTITY: Final = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei))?")
_SCALE: Final = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    **{letter: Fraction(1000 ** (power + 1)) for power, letter in enumerate(("k", "M", "G", "T", "P", "E"))},
    **{f"{letter}i": Fraction(1024 ** (power + 1)) for power, letter in enumerate("KMGTPE")},
}


def functions() -> list[Any]:
    """Return the declarations, for a new environment."""
    return [cel.FunctionDecl(name, overloads) for name, overloads in _overloads().items()]


def _overloads() -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}

    def add(name: str, returns: Any, *parameters: Any, member: bool = True) -> Callable[[Any], Any]:
        def keep(implementation: Callable[..., Any]) -> Callable[..., Any]:
            identity = f"k8s_{name.replace('.', '_')}_{len(found.get(name, ()))}_{'m' if member else 'f'}"
            found.setdefault(name, []).append(
                cel.Overload(
                    identity, return_type=returns, parameters=list(parameters), is_member=member, impl=implementation
                )
            )
            return implementation

        return keep

    _lists(add)
    _texts(add)
    _quantities(add)
    _versions(add)
    _urls(add)
    _addresses(add)
    return found


def _lists(add: Any) -> None:
    add("sum", _T.DYN, _LIST)(sum)
    add("min", _T.DYN, _LIST)(min)
    add("max", _T.DYN, _LIST)(max)
    add("isSorted", _T.BOOL, _LIST)(lambda items: all(a <= b for a, b in itertools.pairwise(items)))
    sets = {
        "sets.contains": lambda items, wanted: _set(items) >= _set(wanted),
        "sets.intersects": lambda items, others: not _set(items).isdisjoint(_set(others)),
        "sets.equivalent": lambda a, b: _set(a) == _set(b),
    }
    for name, implementation in sets.items():
        add(name, _T.BOOL, _LIST, _LIST, member=False)(implementation)


def _set(items: Iterable[Any]) -> set[Any]:
    return set(map(_frozen, items))


def _frozen(value: Any) -> Any:
    """Return something hashable that is equal for equal values; true is not 1, as in CEL."""
    if isinstance(value, dict):
        return frozenset((key, _frozen(part)) for key, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_frozen, value))
    return (bool, value) if isinstance(value, bool) else value


def _texts(add: Any) -> None:
    def find(text: str, pattern: str) -> str:
        match = compiled(pattern).search(text)
        return match[0] if match else ""

    def find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
        matches = (match[0] for match in compiled(pattern).finditer(text))
        return list(matches if limit < 0 else itertools.islice(matches, limit))

    add("find", _T.STRING, _T.STRING, _T.STRING)(find)
    add("findAll", _T.List(_T.STRING), _T.STRING, _T.STRING)(find_all)
    add("findAll", _T.List(_T.STRING), _T.STRING, _T.STRING, _T.INT)(find_all)


def _quantities(add: Any) -> None:
    def read(text: str) -> Fraction:
        match = _QUANTITY.fullmatch(text)
        if match is None:
            raise ValueError(
                "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
            )
        exponent = Fraction(10) ** int(match[2][1:]) if match[2] else Fraction(1)
        return Fraction(match[1]) * exponent * _SCALE.get(match[3] or "", Fraction(1))

    def made(value: Fraction) -> dict[str, str]:
        return {"quantity": str(value)}

    def of(value: Any) -> Any:
        if isinstance(value, int):
            return Fraction(value)
        return order_of(value) if "semver" in value else Fraction(value["quantity"])

    def whole(value: Any) -> int:
        if of(value).denominator != 1:
            raise ValueError("cannot convert value to integer")
        return int(of(value))

    add("quantity", _MAP, _T.STRING, member=False)(lambda text: made(read(text)))
    add("isQuantity", _T.BOOL, _T.STRING, member=False)(lambda text: _QUANTITY.fullmatch(text) is not None)
    add("compareTo", _T.INT, _MAP, _MAP)(lambda a, b: (of(a) > of(b)) - (of(a) < of(b)))
    add("isGreaterThan", _T.BOOL, _MAP, _MAP)(lambda a, b: of(a) > of(b))
    add("isLessThan", _T.BOOL, _MAP, _MAP)(lambda a, b: of(a) < of(b))
    add("sign", _T.INT, _MAP)(lambda a: (of(a) > 0) - (of(a) < 0))
    add("isInteger", _T.BOOL, _MAP)(lambda a: of(a).denominator == 1)
    add("asInteger", _T.INT, _MAP)(whole)
    add("asApproximateFloat", _T.DOUBLE, _MAP)(lambda a: float(of(a)))
    for other in (_MAP, _T.INT):
        add("add", _MAP, _MAP, other)(lambda a, b: made(of(a) + of(b)))
        add("sub", _MAP, _MAP, other)(lambda a, b: made(of(a) - of(b)))


def _versions(add: Any) -> None:
    def fits(text: str, lenient: bool = False) -> bool:
        try:
            return bool(read_semver(text, lenient=lenient))
        except ValueError:
            return False

    def made(text: str, lenient: bool = False) -> dict[str, str]:
        return {"semver": read_semver(text, lenient=lenient)}

    for more in ((), (_T.BOOL,)):
        add("isSemver", _T.BOOL, _T.STRING, *more, member=False)(fits)
        add("semver", _MAP, _T.STRING, *more, member=False)(made)
    for index, name in enumerate(("major", "minor", "patch")):
        add(name, _T.INT, _MAP)(lambda value, index=index: int(NUMBERS.split(value["semver"], maxsplit=3)[index]))


def _urls(add: Any) -> None:
    def is_url(text: str) -> bool:
        try:
            found = urlsplit(text)
        except ValueError:
            return False
        return bool(found.scheme and (found.netloc or found.path)) or text.startswith("/")

    def url(text: str) -> dict[str, str]:
        if not is_url(text):
            raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
        return {"url": text}

    add("isURL", _T.BOOL, _T.STRING, member=False)(is_url)
    add("url", _MAP, _T.STRING, member=False)(url)
    parts: dict[str, Callable[[Any], str]] = {
        "getScheme": lambda found: found.scheme,
        "getHost": lambda found: found.netloc.rpartition("@")[2],
        "getHostname": lambda found: found.hostname or "",
        "getPort": lambda found: str(found.port) if found.port is not None else "",
        "getEscapedPath": lambda found: found.path,
    }
    for name, part in parts.items():
        add(name, _T.STRING, _MAP)(lambda value, part=part: part(urlsplit(value["url"])))
    add("getQuery", _MAP, _MAP)(lambda value: parse_qs(urlsplit(value["url"]).query, keep_blank_values=True))


def _addresses(add: Any) -> None:
    def address(value: Any) -> Any:
        return ipaddress.ip_address(value["ip"] if isinstance(value, dict) else value)

    def network(value: Any) -> Any:
        return ipaddress.ip_network(value["cidr"] if isinstance(value, dict) else value, strict=False)

    def fits(read: Callable[[Any], Any], text: str) -> bool:
        try:
            return read(text) is not None
        except ValueError:
            return False

    def family(value: Any) -> int:
        return int(address(value).version if "ip" in value else network(value).version)

    add("isIP", _T.BOOL, _T.STRING, member=False)(lambda text: fits(address, text))
    add("ip", _MAP, _T.STRING, member=False)(lambda text: {"ip": str(address(text))})
    add("ip.isCanonical", _T.BOOL, _T.STRING, member=False)(lambda text: str(address(text)) == text)
    add("isCIDR", _T.BOOL, _T.STRING, member=False)(lambda text: "/" in text and fits(network, text))
    add("cidr", _MAP, _T.STRING, member=False)(lambda text: {"cidr": text} if network(text) else {})
    add("family", _T.INT, _MAP)(family)
    for name, attribute in (
        ("isUnspecified", "is_unspecified"),
        ("isLoopback", "is_loopback"),
        ("isLinkLocalMulticast", "is_multicast"),
        ("isLinkLocalUnicast", "is_link_local"),
        ("isGlobalUnicast", "is_global"),
    ):
        add(name, _T.BOOL, _MAP)(lambda value, attribute=attribute: bool(getattr(address(value), attribute)))
    add("prefixLength", _T.INT, _MAP)(lambda value: network(value).prefixlen)
    add("ip", _MAP, _MAP)(lambda value: {"ip": value["cidr"].partition("/")[0]})
    add("masked", _MAP, _MAP)(lambda value: {"cidr": str(network(value))})
    for other in (_T.STRING, _MAP):
        add("containsIP", _T.BOOL, _MAP, other)(lambda value, inner: address(inner) in network(value))
        add("containsCIDR", _T.BOOL, _MAP, other)(lambda value, inner: network(inner).subnet_of(network(value)))
