"""Tokens of people and of service accounts: what they are good for, and for how long."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from zeroflow.errors import Conflict, InvalidInput, NotFound, Unavailable
from zeroflow.knative.local.identity.authentication import Authenticator
from zeroflow.knative.local.identity.callers import OWNER
from zeroflow.knative.local.identity.tokens import Tokens
from zeroflow.knative.local.identity.users import Users


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Accounts:
    def __init__(self) -> None:
        self.uid: str | None = "u1"

    def find(self, kind: str, namespace: str | None, name: str) -> Any:
        known = (kind, namespace, name) == ("ServiceAccount", "team-a", "robot") and self.uid
        return {"metadata": {"uid": self.uid}} if known else None


def test_a_persons_token_is_shown_once_and_kept_as_a_hash(tmp_path: Path) -> None:
    users = Users(tmp_path / "secrets" / "users.json")
    assert users.of("zf-anything") is None
    token = users.add("ada", ["blue"], "2026-01-01T00:00:00Z")
    assert token not in users.path.read_text()
    assert users.path.stat().st_mode & 0o077 == 0
    caller = users.of(token)
    assert caller is not None
    assert (caller.name, caller.groups) == ("ada", ("blue", "system:authenticated"))
    assert users.of(token + "x") is None
    with pytest.raises(Conflict, match="ada"):
        users.add("ada", [], "")
    another = users.add("bob", [], "2026-01-01T00:00:00Z")
    users.remove("ada")
    assert (users.of(token), bool(users.of(another))) == (None, True)
    with pytest.raises(NotFound, match="ada"):
        users.remove("ada")


@pytest.mark.parametrize("name", ["", "a b", "system:admin", "-x", "a" * 300, "a\n"], ids=repr)
def test_odd_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="name"):
        Users(tmp_path / "users.json").add(name, [], "")


def test_a_damaged_file_lets_nobody_in(tmp_path: Path) -> None:
    users = Users(tmp_path / "users.json")
    token = users.add("ada", [], "")
    users.path.write_text("{")
    with pytest.raises(Unavailable, match=r"users\.json"):
        users.of(token)


def test_a_service_accounts_token_ends_with_its_time_and_with_its_account(tmp_path: Path) -> None:
    clock, accounts = Clock(), Accounts()
    tokens = Tokens(tmp_path / "key", clock)
    known = Authenticator("owner", Users(tmp_path / "users.json"), tokens, accounts)
    token, expires = tokens.issue("team-a", "robot", "u1", (), 600)
    assert expires == clock.now + 600
    caller = known.caller(f"Bearer {token}")
    assert caller is not None
    assert caller.name == "system:serviceaccount:team-a:robot"
    assert "system:serviceaccounts:team-a" in caller.groups
    assert known.caller("Bearer owner") is OWNER
    assert known.of_token(token, ("somebody-else",)) is None
    assert Tokens(tmp_path / "key", clock).read(token) is not None  # another start of the host
    assert Tokens(tmp_path / "other", clock).read(token) is None
    accounts.uid = "u2"  # deleted and made again
    assert known.caller(f"Bearer {token}") is None
    accounts.uid = "u1"
    clock.now += 600
    assert known.caller(f"Bearer {token}") is None


def test_nobody_makes_a_token_without_the_key(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "key")
    token, _ = tokens.issue("team-a", "robot", "u1", (), 600)
    head, claims, signature = token.split(".")
    told = json.loads(urlsafe_b64decode(claims + "=="))
    told["kubernetes.io"]["serviceaccount"]["name"] = "admin"
    forged = urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
    none = urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    for bad in (
        f"{head}.{forged}.{signature}",
        f"{none}.{claims}.",
        f"{none}.{claims}.{signature}",
        "eyJ..",
        "eyJ.a.ü",
    ):
        assert tokens.read(bad) is None
    assert tokens.read(token) is not None
