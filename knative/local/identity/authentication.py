"""From an `Authorization` header to a caller."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any, Protocol

from zeroflow.knative.local.identity.callers import OWNER, Caller, service_account
from zeroflow.knative.local.identity.tokens import AUDIENCES, Tokens, is_token
from zeroflow.knative.local.identity.users import Users


class Accounts(Protocol):
    """Where ServiceAccounts are (the store)."""

    def find(self, kind: str, namespace: str | None, name: str) -> Any:
        """Return an object or None."""
        ...


@dataclass(frozen=True)
class Authenticator:
    """Knows the owner's token, people's tokens and service accounts' tokens."""

    owner_token: str
    users: Users
    tokens: Tokens
    accounts: Accounts

    def caller(self, authorization: str) -> Caller | None:
        """Return who an Authorization header names; None for a token that nobody has, or for none."""
        scheme, _, token = authorization.partition(" ")
        return self.of_token(token.strip()) if scheme.lower() == "bearer" else None

    def of_token(self, token: str, audiences: tuple[str, ...] = AUDIENCES) -> Caller | None:
        """Return whose token this is, when it is for one of the audiences."""
        if not token:
            return None
        if hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.owner_token.encode()):
            return OWNER
        if (user := self.users.of(token)) is not None:
            return user
        if not is_token(token):
            return None
        claims = self.tokens.read(token)
        if claims is None or not set(claims.audiences) & set(audiences):
            return None
        account = self.accounts.find("ServiceAccount", claims.namespace, claims.name)
        if account is None or account["metadata"]["uid"] != claims.uid:
            return None
        return service_account(claims.namespace, claims.name, claims.uid)
