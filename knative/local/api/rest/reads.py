"""GET: one object, or a list in pages. A page's continue token names the place in the collection and the version of
the first page.
"""

from __future__ import annotations

import base64
import binascii
from itertools import islice

import orjson
from aiohttp import web

from zeroflow.knative.local.api.errors import BadRequest, Expired, NotFound
from zeroflow.knative.local.api.objects import Object, meta
from zeroflow.knative.local.api.rest import parameters
from zeroflow.knative.local.api.rest.replies import reply, reply_object
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.api.table import table


def get(store: Store, request: web.Request, target: Target) -> web.Response:
    """Answer with the object; raise NotFound."""
    found = store.look(target.kind, target.namespace, target.name or "")
    if found is None:
        raise NotFound.named(target.kind.resource, target.name or "")
    return reply_object(request, target, found)


def listing(store: Store, request: web.Request, target: Target) -> web.Response:
    """Answer with the selected objects of the collection, at most `limit` at a time."""
    selection = parameters.Selection.of(request)
    limit = parameters.number(request, "limit") or 0
    wanted = parameters.version(request)
    version, after = store.version, ("", "")
    if token := request.query.get("continue"):
        version, after = _place(token)
        if store.is_forgotten(version):
            raise Expired("The provided continue parameter is too old to display a consistent list result: list again")
    elif request.query.get("resourceVersionMatch") == "Exact" and wanted not in (None, store.version):
        raise Expired(f"The resourceVersion for the provided list is too old: {wanted} is not kept")
    elif wanted is not None and wanted > store.version:
        raise Expired(f"too large resource version: {wanted}, current: {store.version}")
    found = (obj for obj in store.peek(target.kind, target.namespace, after) if selection.matches(obj))
    page = list(islice(found, limit) if limit else found)
    metadata: Object = {"resourceVersion": str(version)}
    if limit and next(found, None) is not None:
        metadata["continue"] = _token(version, page[-1])
        if selection.labels is None and selection.fields is None:
            metadata["remainingItemCount"] = store.count(target.kind, target.namespace, _key(page[-1]))
    if parameters.as_table(request):
        include = request.query.get("includeObject", "Metadata")
        made = table(target.kind, target.version, map(target.shown, page), include)
        made["metadata"] = metadata
        return reply(made)
    items = [target.shown(obj) for obj in page]
    if not target.kind.custom:  # typed lists do not repeat what the list says
        items = [{name: value for name, value in obj.items() if name not in ("apiVersion", "kind")} for obj in items]
    head = {"kind": f"{target.kind.kind}List", "apiVersion": target.api_version}
    return reply(head | {"metadata": metadata, "items": items})


def _key(obj: Object) -> tuple[str, str]:
    metadata = meta(obj)
    return str(metadata.get("namespace", "")), str(metadata.get("name", ""))


def _token(version: int, last: Object) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([version, *_key(last)])).decode()


def _place(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = orjson.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (ValueError, TypeError, binascii.Error) as error:
        raise BadRequest("continue key is not valid") from error
