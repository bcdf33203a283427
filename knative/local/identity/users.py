"""The people of a home: `secrets/users.json`, written by `zeroflow users`, read again by the host when it changes.

A token is shown once, when it is made; the file has its hash only. Tokens are 32 random bytes, so that a plain hash
keeps them as well as a slow one would. Removing a user ends the token at the next request.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeroflow.errors import Conflict, InvalidInput, NotFound, Unavailable
from zeroflow.knative.local.identity.callers import AUTHENTICATED, MASTERS, Caller

FILE = "users.json"
PREFIX = "zf-"
"""What tokens of people begin with, so that one is known for what it is where it should not be."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,252}\Z")


@dataclass
class Users:
    """The users of a home, by the hash of their tokens."""

    path: Path
    _seen: tuple[int, int] | None = None
    _callers: dict[str, Caller] = field(default_factory=dict)

    def of(self, token: str) -> Caller | None:
        """Return whose token this is."""
        if not token.startswith(PREFIX):
            return None
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return None
        if self._seen != (stat.st_mtime_ns, stat.st_size):
            self._callers = {one["tokenSha256"]: _caller(one) for one in _read(self.path)}
            self._seen = (stat.st_mtime_ns, stat.st_size)
        return self._callers.get(_hash(token))  # a hash of a secret: what a lookup's time tells is no use

    def all(self) -> list[dict[str, Any]]:
        """Return name, groups and when each was added."""
        return [{key: one[key] for key in ("name", "groups", "added")} for one in _read(self.path)]

    def add(self, name: str, groups: Sequence[str], added: str) -> str:
        """Add a user and return the token; raise Conflict for a name that is taken."""
        for kind, given in (("name", name), *(("group", group) for group in groups)):
            if not _NAME.match(given) and not (kind == "group" and given == MASTERS):
                raise InvalidInput(
                    f"a {kind} has letters, digits and . _ @ + - and begins with one, got {given[:60]!r}"
                )
        token = PREFIX + secrets.token_urlsafe(32)
        with self._changing() as users:
            if any(one["name"] == name for one in users):
                raise Conflict(f"there is a user {name!r} already; remove it first to give it another token")
            users.append({"name": name, "groups": list(groups), "added": added, "tokenSha256": _hash(token)})
        return token

    def remove(self, name: str) -> None:
        """Remove a user; its token is worth nothing from now on."""
        with self._changing() as users:
            if not any(one["name"] == name for one in users):
                raise NotFound(f"there is no user {name!r}")
            users[:] = [one for one in users if one["name"] != name]

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        """Read the file, and write it whole or not at all when the block ends; one at a time."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            users = _read(self.path)
            yield users
            scratch = self.path.with_suffix(".new")
            descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump({"users": users}, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(self.path)


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        users: list[dict[str, Any]] = json.loads(path.read_text())["users"]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise Unavailable(f"the users' file {path} cannot be read: {error}") from error
    return users


def _caller(user: dict[str, Any]) -> Caller:
    return Caller(user["name"], (*user["groups"], AUTHENTICATED))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
