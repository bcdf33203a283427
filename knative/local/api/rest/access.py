"""Whether who asks may do what they ask: the verb and the resource of a request, as Kubernetes names them.

The front says who asks (`request[CALLER]`); without it nobody restricts anything (a store that is served by itself).
Source: Kubernetes "Authorization", request attributes and verbs.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest, Forbidden
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.identity.authorization import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    ROLE,
    ROLE_BINDING,
    Action,
    Authorizer,
)
from zeroflow.knative.local.identity.callers import AUTHENTICATED, OWNER, Caller, service_account

CALLER: Final = "zeroflow.caller"
_VERBS: Final = {"POST": "create", "PUT": "update", "PATCH": "patch"}
_ROLES: Final = (ROLE, CLUSTER_ROLE)
_BINDINGS: Final = (ROLE_BINDING, CLUSTER_ROLE_BINDING)


def caller_of(request: web.Request) -> Caller:
    """Return who asks."""
    found: Caller = request.get(CALLER, OWNER)
    return found


def impersonate(authorizer: Authorizer, request: web.Request) -> None:
    """Let who may act in another's name be that other from here on (`kubectl --as`); raise Forbidden to others."""
    name, groups = request.headers.get("Impersonate-User", ""), request.headers.getall("Impersonate-Group", [])
    if not name and not groups:
        return
    caller = caller_of(request)
    if not name:
        raise BadRequest("requested groups without impersonating a user")
    prefix, _, account = name.partition("system:serviceaccount:")
    namespace, _, account = account.partition(":")
    is_account = bool(not prefix and namespace and account)
    whom = ("serviceaccounts", account, namespace) if is_account else ("users", name, "")
    for resource, named, where in (whom, *(("groups", group, "") for group in groups)):
        action = Action("impersonate", "", resource, "", named, where)
        if not authorizer.allows(caller, action):
            raise refusal(caller, action)
    own = service_account(namespace, account).groups if is_account and not groups else (*groups, AUTHENTICATED)
    request[CALLER] = Caller(name, tuple(own))


def action_of(request: web.Request, target: Target) -> Action:
    """Return what a request asks for."""
    name, namespace = target.name or "", target.namespace or ""
    match request.method:
        case "GET" | "HEAD":
            watches = parameters.flag(request, "watch")
            verb = "watch" if watches else "get" if name else "list"
            name = name or _selected(request)
        case "DELETE":
            verb = "delete" if name else "deletecollection"
        case method:
            verb = _VERBS.get(method, method.lower())
    if target.kind.key == "Namespace":
        namespace = name
    return Action(verb, target.kind.group, target.kind.plural, target.subresource, name, namespace)


def check(authorizer: Authorizer, request: web.Request, target: Target) -> None:
    """Raise Forbidden, in an API server's words, unless who asks may."""
    caller = caller_of(request)
    if caller.is_master:
        return
    action = action_of(request, target)
    allowed = authorizer.allows(caller, action)
    if allowed and action.verb == "patch" and target.kind.key in (*_ROLES, *_BINDINGS):
        # What a patch makes of a role is not known before it is made; who may give anything may patch as well.
        action = Action("escalate", action.group, action.resource, "", action.name, action.namespace)
        allowed = authorizer.allows(caller, action)
    if not allowed:
        raise refusal(caller, action)


def check_given(authorizer: Authorizer, caller: Caller, target: Target, obj: Object) -> None:
    """Raise Forbidden when a role, or a binding of one, gives what its writer has not."""
    if caller.is_master or target.kind.key not in (*_ROLES, *_BINDINGS):
        return
    namespace = target.namespace or ""
    if target.kind.key in _ROLES:
        verb, plural, name = "escalate", target.kind.plural, str(obj["metadata"].get("name", ""))
        rules = authorizer.rules_in(obj)
    else:
        reference = obj.get("roleRef") or {}
        if not isinstance(reference, dict) or not {"kind", "name"} <= set(reference):
            return  # admission says what is wrong
        verb, plural, name = "bind", f"{reference['kind'].lower()}s", reference["name"]
        rules = authorizer.rules_of(reference, namespace)
    if authorizer.allows(caller, Action(verb, target.kind.group, plural, "", name, namespace)):
        return
    lacked = authorizer.lacks(caller, rules, namespace)
    if lacked is not None:
        raise Forbidden(
            f'{target.kind.resource} "{obj["metadata"].get("name", "")}" is forbidden: user "{caller.name}" '
            f"is attempting to grant RBAC permissions not currently held: {lacked.described}",
            kind=target.kind.plural,
            group=target.kind.group,
        )


def refusal(caller: Caller, action: Action) -> Forbidden:
    """Return what an API server says to who may not."""
    if action.path:
        return Forbidden(f'forbidden: User "{caller.name}" cannot {action.described}')
    resource = f"{action.resource}.{action.group}" if action.group else action.resource
    what = f'{resource} "{action.name}"' if action.name else resource
    return Forbidden(
        f'{what} is forbidden: User "{caller.name}" cannot {action.described}',
        name=action.name,
        group=action.group,
        kind=action.resource,
    )


def _selected(request: web.Request) -> str:
    """Return the name that a field selector asks for, when it asks for one."""
    for part in request.query.get("fieldSelector", "").split(","):
        field, _, value = part.partition("=")
        if field == "metadata.name":
            return value.lstrip("=")
    return ""
