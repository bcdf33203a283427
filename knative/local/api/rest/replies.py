"""JSON answers, and the choice between an object, a list and a Table of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from aiohttp import web

from zeroflow.knative.local.api.objects import Object, meta
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.table import table

JSON = "application/json"


def reply(body: Any, code: int = 200, warnings: Iterable[str] = (), content_type: str = JSON) -> web.Response:
    """Answer with JSON; each warning is shown by kubectl on a line of its own."""
    response = web.Response(body=orjson.dumps(body), status=code)
    response.headers["Content-Type"] = content_type
    for warning in warnings:
        text = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{text}"')
    return response


def reply_object(
    request: web.Request, target: Target, obj: Object, code: int = 200, warnings: Iterable[str] = ()
) -> web.Response:
    """Answer with one object, as a Table where the client asks for one."""
    if parameters.as_table(request):
        include = request.query.get("includeObject", "Metadata")
        made = table(target.kind, target.version, [target.shown(obj)], include)
        made["metadata"] = {"resourceVersion": meta(obj).get("resourceVersion", "")}
        return reply(made, code, warnings)
    return reply(target.shown(obj), code, warnings)
