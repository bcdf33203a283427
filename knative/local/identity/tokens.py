"""Tokens of ServiceAccounts: JSON Web Tokens signed with a key of the home, for an audience and for a time.

Guarantees: a token is valid until it expires or its account is deleted (the account's uid is in it). Only this host
makes and checks them, so that they are signed with a secret (HS256); nobody else has to know a public key.
Source: RFC 7519, RFC 7515; Kubernetes TokenRequest (authentication.k8s.io/v1) and the claims of its tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ISSUER: Final = "https://kubernetes.default.svc.cluster.local"
AUDIENCES: Final = (ISSUER,)
"""Of a token that was asked for without any."""
KEY_FILE: Final = "serviceaccounts.key"
"""The key of a home, among its secrets."""
SECONDS: Final = 3600
SHORTEST_S, LONGEST_S = 600, 1 << 32
_HEADER: Final = {"alg": "HS256", "typ": "JWT"}
_CLAIM: Final = "kubernetes.io"


@dataclass(frozen=True)
class Claims:
    """What a token says, once it is believed."""

    namespace: str
    name: str
    uid: str
    audiences: tuple[str, ...]


class Tokens:
    """Makes and reads tokens with the key in a file, which is made when it is first needed."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        self._path, self._clock = path, clock
        self._key = b""

    def issue(self, namespace: str, name: str, uid: str, audiences: Sequence[str], seconds: int) -> tuple[str, float]:
        """Return a token for a ServiceAccount and the time when it expires."""
        now = int(self._clock())
        claims = {
            "iss": ISSUER,
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "aud": list(audiences or AUDIENCES),
            "iat": now,
            "nbf": now,
            "exp": now + seconds,
            "jti": secrets.token_hex(8),
            _CLAIM: {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
        }
        signed = f"{_encode(json.dumps(_HEADER).encode())}.{_encode(json.dumps(claims).encode())}"
        return f"{signed}.{_encode(self._sign(signed))}", float(now + seconds)

    def read(self, token: str) -> Claims | None:
        """Return what a token says; None when this host has not made it, or it is not valid now."""
        signed, _, signature = token.rpartition(".")
        try:
            if not hmac.compare_digest(_decode(signature), self._sign(signed)):
                return None
            claims: dict[str, Any] = json.loads(_decode(signed.partition(".")[2]))
            if not claims["nbf"] <= self._clock() < claims["exp"]:
                return None
            account = claims[_CLAIM]["serviceaccount"]
            return Claims(claims[_CLAIM]["namespace"], account["name"], account["uid"], tuple(claims["aud"]))
        except (ValueError, KeyError, TypeError):
            return None

    def _sign(self, signed: str) -> bytes:
        return hmac.new(self._secret(), signed.encode(), hashlib.sha256).digest()

    def _secret(self) -> bytes:
        if not self._key:
            if not self._path.exists():
                scratch = self._path.with_suffix(f".{os.getpid()}")
                descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(secrets.token_bytes(32))
                    file.flush()
                    os.fsync(file.fileno())
                scratch.rename(self._path)
            self._key = self._path.read_bytes()
        return self._key


def is_token(text: str) -> bool:
    """Say whether this looks like such a token."""
    return text.startswith("eyJ") and text.count(".") == 2


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
