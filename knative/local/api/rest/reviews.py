"""Reviews: who am I, may I, may they, whose token is this. Each is answered and none is kept.

`kubectl auth can-i`, `can-i --list`, `whoami`; SubjectAccessReview and TokenReview for what checks callers itself; and
`kubectl create token` (TokenRequest, a subresource of ServiceAccounts).
Source: authorization.k8s.io/v1, authentication.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest, Invalid, MethodNotAllowed, NotFound
from zeroflow.knative.local.api.objects import Object, now
from zeroflow.knative.local.api.rest import access, bodies
from zeroflow.knative.local.api.rest.replies import reply
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity import tokens
from zeroflow.knative.local.identity.authentication import Authenticator
from zeroflow.knative.local.identity.authorization import Action, Authorizer
from zeroflow.knative.local.identity.callers import Caller

NOT_ALLOWED = "the server does not allow this method on the requested resource"
SELF = ("SelfSubjectReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview")
"""What everybody may ask."""


@dataclass(frozen=True)
class Reviewer:
    """Answers reviews by the roles and the tokens that there are."""

    store: Store
    authorizer: Authorizer
    authenticator: Authenticator | None

    async def review(
        self, request: web.Request, api_version: str, kind: str, plural: str, namespace: str | None = None
    ) -> web.Response:
        """Answer a review."""
        if request.method != "POST":
            raise MethodNotAllowed(NOT_ALLOWED)
        caller = access.caller_of(request)
        if kind not in SELF:
            action = Action("create", api_version.partition("/")[0], plural, namespace=namespace or "")
            if not self.authorizer.allows(caller, action):
                raise access.refusal(caller, action)
        asked = (await bodies.receive(request)).value
        if not isinstance(asked, dict):
            raise BadRequest(f"the body is no {kind}: expected a JSON object")
        answer: Object = {"kind": kind, "apiVersion": api_version, "metadata": {"creationTimestamp": None}}
        spec = asked.get("spec") or {}
        if not isinstance(spec, dict):
            raise BadRequest(f"{kind}.spec is no JSON object")
        match kind:
            case "SelfSubjectReview":
                return reply(answer | {"status": {"userInfo": caller.info()}}, 201)
            case "SelfSubjectAccessReview":
                status = self._access(caller, spec)
            case "SelfSubjectRulesReview":
                status = self._rules(caller, str(spec.get("namespace") or ""))
            case "TokenReview":
                status = self._token(spec)
            case _:
                status = self._access(_subject(spec), spec, namespace)
        return reply(answer | {"spec": spec, "status": status}, 201)

    async def request_token(self, request: web.Request, target: Target) -> web.Response:
        """Make a token for a ServiceAccount."""
        if request.method != "POST":
            raise MethodNotAllowed(NOT_ALLOWED)
        account = self.store.find("ServiceAccount", target.namespace, target.name or "")
        if account is None or self.authenticator is None:
            raise NotFound.named("serviceaccounts", target.name or "")
        asked = (await bodies.receive(request)).value
        spec = (asked.get("spec") if isinstance(asked, dict) else None) or {}
        audiences = spec.get("audiences") or list(tokens.AUDIENCES)
        seconds = spec.get("expirationSeconds") or tokens.SECONDS
        if not isinstance(audiences, list) or not all(isinstance(one, str) and one for one in audiences):
            raise Invalid("spec.audiences: Invalid value: must be a list of strings")
        if isinstance(seconds, bool) or not isinstance(seconds, int):
            raise Invalid("spec.expirationSeconds: Invalid value: must be a whole number")
        if not tokens.SHORTEST_S <= seconds <= tokens.LONGEST_S:
            raise Invalid(
                f"TokenRequest.authentication.k8s.io is invalid: spec.expirationSeconds: Invalid value: {seconds}: "
                "may not specify a duration less than 10 minutes, or larger than 2^32 seconds"
            )
        if spec.get("boundObjectRef"):
            raise Invalid("spec.boundObjectRef: Forbidden: tokens that end with a Pod or a Secret are not made here")
        name, uid = account["metadata"]["name"], account["metadata"]["uid"]
        token, expires = self.authenticator.tokens.issue(target.namespace or "", name, uid, audiences, seconds)
        until = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        metadata = {"name": name, "namespace": target.namespace, "creationTimestamp": now()}
        return reply(
            {
                "kind": "TokenRequest",
                "apiVersion": "authentication.k8s.io/v1",
                "metadata": metadata,
                "spec": {"audiences": audiences, "expirationSeconds": seconds, "boundObjectRef": None},
                "status": {"token": token, "expirationTimestamp": until},
            },
            201,
        )

    def _access(self, caller: Caller, spec: Object, namespace: str | None = None) -> Object:
        action = _action(spec)
        if namespace is not None and action.namespace != namespace:
            raise BadRequest(f"spec.resourceAttributes.namespace must match namespace: {namespace}")
        return {"allowed": self.authorizer.allows(caller, action)}

    def _rules(self, caller: Caller, namespace: str) -> Object:
        everything = ["*"]
        if caller.is_master:
            resources = [{"verbs": everything, "apiGroups": everything, "resources": everything}]
            paths = [{"verbs": everything, "nonResourceURLs": everything}]
        else:
            rules = [dict(rule) for _, rule in self.authorizer.rules(caller, namespace)]
            resources = [rule for rule in rules if rule.get("resources")]
            paths = [rule for rule in rules if rule.get("nonResourceURLs")]
        return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}

    def _token(self, spec: Object) -> Object:
        token, audiences = spec.get("token"), spec.get("audiences") or list(tokens.AUDIENCES)
        if not isinstance(token, str) or not token:
            raise Invalid("spec.token: Required value")
        found = self.authenticator.of_token(token, tuple(audiences)) if self.authenticator is not None else None
        if found is None:
            return {"authenticated": False, "user": {}, "error": "invalid bearer token"}
        return {"authenticated": True, "user": found.info(), "audiences": audiences}


def _subject(spec: Object) -> Caller:
    name, groups = spec.get("user") or "", spec.get("groups") or []
    if not isinstance(name, str) or not isinstance(groups, list) or not (name or groups):
        raise Invalid("spec.user: Invalid value: at least one of user or group must be specified")
    return Caller(name, tuple(map(str, groups)), str(spec.get("uid") or ""))


def _action(spec: Object) -> Action:
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if isinstance(resource, Mapping) and not path:
        names = ("verb", "group", "resource", "subresource", "name", "namespace")
        given: dict[str, Any] = {name: str(resource.get(name) or "") for name in names}
        return Action(**given)
    if isinstance(path, Mapping) and not resource:
        return Action(str(path.get("verb") or ""), path=str(path.get("path") or ""))
    raise Invalid("spec: Invalid value: exactly one of nonResourceAttributes or resourceAttributes must be specified")
