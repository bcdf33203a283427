"""The approval policy: which registered models need an approval, who may give it, and what it asks for.

A YAML file that the administrator owns: ZEROFLOW_REGISTRY_POLICY names it, else `registry-policy.yaml` in the home.
Without one, no model needs an approval. A file that cannot be understood stops writes - a policy that is misspelled
must not mean none.

    identities:                      # who is who: a client sends `Authorization: Bearer <token>`
      - {name: ada, tokenSha256: <sha256 of the token>}
    auditors: [carol]                # who may prune the audit trail; left out: everyone who is known
    trustedHeader: kubeflow-userid   # where an authenticating proxy in front says who it is; leave out without one
    approvals:
      - models: ["credit-*"]         # the first entry whose pattern fits counts
        approvers: [ada, bob]        # nobody else; left out: everyone who is known
        fourEyes: true               # whoever approves has neither registered nor submitted the version
        metrics: {auc: {min: 0.9}, loss: {max: 0.2}}
        artifacts: [evaluation]      # must be there under the version, by name
        signedBy: [keys/release.pub] # one of these keys (PEM, beside this file) has signed the bytes
"""

import hashlib
import hmac
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from zeroflow.artifacts import Stores
from zeroflow.errors import Unavailable, ZeroflowError

FILE = "registry-policy.yaml"
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Bounds:
    """The values that a metric may have, both ends included."""

    min: float = float("-inf")
    max: float = float("inf")


@dataclass(frozen=True)
class Approval:
    """What it takes to approve a version of the models that match."""

    models: tuple[str, ...]
    approvers: tuple[str, ...] = ()
    four_eyes: bool = True
    metrics: Mapping[str, Bounds] = field(default_factory=dict)
    artifacts: tuple[str, ...] = ()
    signed_by: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Policy:
    """All of the file. `identities`: sha256 of a token -> name."""

    identities: Mapping[str, str] = field(default_factory=dict)
    trusted_header: str | None = None
    approvals: tuple[Approval, ...] = ()
    auditors: tuple[str, ...] = ()
    stores: Stores | None = None
    """Where signatures are read from."""

    def approval(self, model: str) -> Approval | None:
        """Return what an approval of this registered model takes; None when it needs none."""
        fitting = (one for one in self.approvals if any(fnmatchcase(model, pattern) for pattern in one.models))
        return next(fitting, None)

    def name_of(self, token: str) -> str | None:
        """Return whose token this is."""
        given = hashlib.sha256(token.encode()).hexdigest()
        return next((name for known, name in self.identities.items() if hmac.compare_digest(known, given)), None)


NO_POLICY = Policy()


class PolicyFile:
    """The policy as the file has it now; read again when the file changes."""

    def __init__(self, path: Path | None, stores: Stores | None = None) -> None:
        self.path, self._stores = path, stores
        self.on_change: Callable[[Policy], None] = lambda _policy: None
        """What to do with a policy before it is used for the first time."""
        self._seen: tuple[int, int] | None = None
        self._policy = NO_POLICY

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, stores: Stores | None = None
    ) -> "PolicyFile":
        """Find the file; a named one must be there, the home's may be missing."""
        env = os.environ if environment is None else environment
        if named := env.get("ZEROFLOW_REGISTRY_POLICY"):
            if not Path(named).is_file():
                raise Unavailable(f"ZEROFLOW_REGISTRY_POLICY names {named}, which is no file")
            return cls(Path(named), stores)
        home = env.get("ZEROFLOW_HOME")
        return cls(Path(home) / FILE if home else None, stores)

    def now(self) -> Policy:
        """Return the policy; raise Unavailable when the file is not a policy."""
        if self.path is None:
            return NO_POLICY
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            if self._seen is None:
                return NO_POLICY
            raise Unavailable(
                f"the approval policy {self.path} is gone; restore it, or restart to go without"
            ) from None
        if self._seen != (stat.st_mtime_ns, stat.st_size):
            policy = replace(parse(self.path), stores=self._stores)
            self.on_change(policy)
            self._policy = policy
            self._seen = (stat.st_mtime_ns, stat.st_size)
        return self._policy


def parse(path: Path) -> Policy:
    """Read a policy file; raise Unavailable naming what is wrong with it."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text()) or {}
        _only(document, "the policy", ("identities", "auditors", "trustedHeader", "approvals"))
        return Policy(
            identities=dict(_identity(one) for one in _list(document, "identities")),
            trusted_header=document.get("trustedHeader"),
            approvals=tuple(_approval(one, path.parent) for one in _list(document, "approvals")),
            auditors=_texts(document, "auditors"),
        )
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise Unavailable(f"the approval policy {path} cannot be used: {error}") from error


def _identity(one: Any) -> tuple[str, str]:
    _only(one, "an identity", ("name", "tokenSha256"))
    name, digest = one.get("name"), one.get("tokenSha256")
    if not isinstance(name, str) or not name or not isinstance(digest, str) or not _SHA256.match(digest):
        raise ValueError("an identity needs name, and tokenSha256 of 64 lower-case hexadecimal digits")
    return digest, name


def _approval(one: Any, folder: Path) -> Approval:
    _only(one, "an approval", ("models", "approvers", "fourEyes", "metrics", "artifacts", "signedBy"))
    models, four_eyes = _texts(one, "models"), one.get("fourEyes", True)
    if not models:
        raise ValueError("an approval needs models: a list of name patterns")
    if not isinstance(four_eyes, bool):
        raise ValueError("fourEyes must be true or false")
    metrics = one.get("metrics") or {}
    if not isinstance(metrics, dict):
        raise ValueError("metrics must map names to {min, max}")
    return Approval(
        models=models,
        approvers=_texts(one, "approvers"),
        four_eyes=four_eyes,
        metrics={str(name): _bounds(str(name), value) for name, value in metrics.items()},
        artifacts=_texts(one, "artifacts"),
        signed_by=tuple(_key(folder / name) for name in _texts(one, "signedBy")),
    )


def _key(path: Path) -> Path:
    """Check that a public key is there and of a kind that signs models."""
    from zeroflow.models import signing

    try:
        signing.check_key(path)
    except ZeroflowError as error:
        raise ValueError(f"signedBy: {error}") from error
    return path


def _bounds(name: str, value: Any) -> Bounds:
    _only(value, f"metrics.{name}", ("min", "max"))
    if not value or any(isinstance(end, bool) or not isinstance(end, (int, float)) for end in value.values()):
        raise ValueError(f"metrics.{name} needs min or max, each a number")
    return Bounds(**value)


def _only(value: Any, what: str, known: tuple[str, ...]) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping of {', '.join(known)}")
    unknown = [key for key in value if key not in known]
    if unknown:
        raise ValueError(f"{what} has {unknown[0]!r}; it knows {', '.join(known)}")


def _list(document: dict[str, Any], name: str) -> list[Any]:
    value = document.get(name) or []
    if not isinstance(value, list):
        raise ValueError(f"{name} must be a list")
    return value


def _texts(document: dict[str, Any], name: str) -> tuple[str, ...]:
    values = _list(document, name)
    if not all(isinstance(value, str) and value for value in values):
        raise ValueError(f"{name} must be a list of names")
    return tuple(values)
