"""SelfSubjectAccessReview and its kin: what `kubectl auth can-i` and `whoami` ask.

Whoever reaches this API may do everything in it: who may reach it is decided at the door (token, loopback), not here.
"""

from __future__ import annotations

from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest, MethodNotAllowed
from zeroflow.knative.local.api.objects import Object
from zeroflow.knative.local.api.rest import bodies
from zeroflow.knative.local.api.rest.replies import reply

EVERYTHING = ["*"]


async def review(request: web.Request, api_version: str, kind: str) -> web.Response:
    """Answer a review; it is not kept."""
    if request.method != "POST":
        raise MethodNotAllowed("the server does not allow this method on the requested resource")
    asked = (await bodies.receive(request)).value
    if not isinstance(asked, dict):
        raise BadRequest(f"the body is no {kind}: expected a JSON object")
    answer: Object = {"kind": kind, "apiVersion": api_version, "metadata": {"creationTimestamp": None}}
    if kind == "SelfSubjectReview":
        return reply(
            answer | {"status": {"userInfo": {"username": "zeroflow", "groups": ["system:authenticated"]}}}, 201
        )
    answer["spec"] = asked.get("spec") or {}
    if kind == "SelfSubjectAccessReview":
        return reply(answer | {"status": {"allowed": True}}, 201)
    rules = {
        "resourceRules": [{"verbs": EVERYTHING, "apiGroups": EVERYTHING, "resources": EVERYTHING}],
        "nonResourceRules": [{"verbs": EVERYTHING, "nonResourceURLs": EVERYTHING}],
        "incomplete": False,
    }
    return reply(answer | {"status": rules}, 201)
