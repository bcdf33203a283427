"""How the host tells a function who asks.

`zeroflow-caller` names who was authenticated; the host takes it away from whoever sends it themselves. Functions of the
platform get their groups and a proof beside it, made with the token that only they and the host have: a process that
finds a function's port cannot give itself a name.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass

HEADER = "zeroflow-caller"
GROUPS = "zeroflow-caller-groups"
PROOF = "zeroflow-caller-proof"


@dataclass(frozen=True)
class Caller:
    """Whom the host has authenticated."""

    name: str
    groups: tuple[str, ...] = ()


def told(token: str, caller: Caller) -> dict[str, str]:
    """Return the headers that tell a function of the platform who asks."""
    groups = ",".join(caller.groups)
    return {HEADER: caller.name, GROUPS: groups, PROOF: _prove(token, caller.name, groups)}


def proven(token: str | None, header: Callable[[str], str | None]) -> Caller | None:
    """Return who the host says asks; None when it has named nobody. `header` gives one of the request by its name."""
    name, groups, proof = header(HEADER), header(GROUPS) or "", header(PROOF) or ""
    if not name or not token:
        return None
    if not hmac.compare_digest(_prove(token, name, groups).encode(), proof.encode("utf-8", "surrogateescape")):
        return None
    return Caller(name, tuple(filter(None, groups.split(","))))


def _prove(token: str, name: str, groups: str) -> str:
    return hmac.new(token.encode(), f"caller:{name}\n{groups}".encode(), hashlib.sha256).hexdigest()
