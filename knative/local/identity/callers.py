"""A caller: the name and the groups that Kubernetes knows one by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

AUTHENTICATED: Final = "system:authenticated"
MASTERS: Final = "system:masters"
"""The group that may do everything, whatever roles there are."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = (AUTHENTICATED,)
    uid: str = ""

    @property
    def is_master(self) -> bool:
        """Whether there is nothing that it may not do."""
        return MASTERS in self.groups

    def info(self) -> dict[str, object]:
        """Return the UserInfo of reviews."""
        return {"username": self.name, **({"uid": self.uid} if self.uid else {}), "groups": list(self.groups)}


OWNER: Final = Caller("zeroflow", (MASTERS, AUTHENTICATED))
ANONYMOUS: Final = Caller("system:anonymous", ("system:unauthenticated",))


def service_account(namespace: str, name: str, uid: str = "") -> Caller:
    """Return the caller that a ServiceAccount is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    return Caller(f"system:serviceaccount:{namespace}:{name}", groups, uid)
