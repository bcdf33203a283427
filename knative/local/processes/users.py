"""A user of this machine whom a process becomes; for freshly forked children, so the standard library alone."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    """Whom a process becomes."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def become(user: User) -> None:
    """Make this process a user's, for good."""
    os.setgroups(user.groups)
    os.setgid(user.gid)
    os.setuid(user.uid)
