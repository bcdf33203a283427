"""What is checked at the door besides the resource API: calls of Services, and the host's other paths.

To call a Service takes a verb on `services/proxy` of serving.knative.dev, by its namespace and name: `get` for GET and
HEAD, `create` for POST, `update`, `patch`, `delete`. That goes for predictors, for users' functions and, in the
platform's namespace, for its own: `pipeline` answers the KFP API, `register` the model registry. Brokers, JobSinks,
channels and the event log are paths (`nonResourceURLs`): verb `post` of `/eventing/<namespace>/<broker>`.

A token that nobody has stays a function's own affair on loopback, where no token is needed at all: an API key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from aiohttp import web

from zeroflow import callers
from zeroflow.knative.local.identity.authorization import Action, Authorizer
from zeroflow.knative.local.identity.callers import OWNER, Caller
from zeroflow.knative.local.serving.headers import NO_PASSPORT, Passport
from zeroflow.knative.local.urls import Target

_VERBS: Final = {"HEAD": "get", "POST": "create", "PUT": "update"}
_AUTHORIZATION: Final = frozenset({b"authorization"})
KUBEFLOW: Final = b"kubeflow-userid"
"""The header in which Kubeflow's gateway tells applications who asks."""


@dataclass(frozen=True)
class Gate:
    """Lets callers through to what they may use. `token` is the one that the platform's functions have."""

    authorizer: Authorizer
    token: str

    def check_service(self, caller: Caller | None, method: str, service: Target) -> None:
        """Raise 403 unless a caller may call a Service."""
        if caller is None:
            return
        verb = _VERBS.get(method, method.lower())
        action = Action(verb, "serving.knative.dev", "services", "proxy", service.name, service.namespace)
        self._check(caller, action)

    def check_path(self, caller: Caller | None, method: str, path: str) -> None:
        """Raise 403 unless a caller may use a path."""
        if caller is not None:
            self._check(caller, Action(method.lower(), path=path))

    def passport(self, caller: Caller | None, *, platform: bool) -> Passport:
        """Return what a Service is told of a caller whose token this host has made."""
        if caller is None:
            return NO_PASSPORT
        hidden = frozenset() if platform else _AUTHORIZATION
        if caller is OWNER:
            return Passport(hidden=hidden)
        name = caller.name.encode()
        said = {callers.HEADER: caller.name}
        if platform:
            said = callers.told(self.token, callers.Caller(caller.name, caller.groups))
        return Passport((*((key.encode(), value.encode()) for key, value in said.items()), (KUBEFLOW, name)), hidden)

    def _check(self, caller: Caller, action: Action) -> None:
        if not self.authorizer.allows(caller, action):
            raise web.HTTPForbidden(text=f'forbidden: User "{caller.name}" cannot {action.described}\n')
