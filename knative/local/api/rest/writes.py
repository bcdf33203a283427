"""POST, PUT, PATCH, DELETE: each verb is one operation on the store, so a read-modify-write cannot be overtaken.

Guarantees: a refused request writes nothing; dryRun=All answers as the write would and keeps nothing; who set which
field is recorded in metadata.managedFields. Source: Kubernetes API concepts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from zeroflow.knative.local.api import managers
from zeroflow.knative.local.api.advice import advice
from zeroflow.knative.local.api.builtin_schemas import mistyped
from zeroflow.knative.local.api.deletions import DeleteOptions
from zeroflow.knative.local.api.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, UnsupportedMediaType
from zeroflow.knative.local.api.managers import Manager
from zeroflow.knative.local.api.objects import Object, copy, meta
from zeroflow.knative.local.api.patches import APPLY_PATCH, patched
from zeroflow.knative.local.api.rest import access, bodies, protobuf, status
from zeroflow.knative.local.api.rest.parameters import Selection, WriteOptions
from zeroflow.knative.local.api.rest.replies import reply, reply_object
from zeroflow.knative.local.api.rest.target import Target
from zeroflow.knative.local.api.state import Draft
from zeroflow.knative.local.api.store import Store
from zeroflow.knative.local.identity.authorization import Authorizer

PROPAGATIONS = ("Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class Writer:
    """The verbs that change something."""

    store: Store
    authorizer: Authorizer

    async def create(self, request: web.Request, target: Target) -> web.Response:
        options = WriteOptions.of(request)
        if not target.kind.creatable:
            raise Forbidden(f"{target.kind.resource} is forbidden: {target.kind.instead}")
        obj, warnings = await self._object(request, target, options)
        if target.kind.has_status:
            obj.pop("status", None)
        meta(obj).pop("managedFields", None)
        manager = Manager(options.manager, "Update", target.api_version)

        def operation(draft: Draft) -> Object:
            managers.record_update(target.kind, None, obj, manager)
            return self.store.mutations.create(draft, target.kind, obj)

        return reply_object(request, target, await self._write(options.dry_run, operation), 201, warnings)

    async def replace(self, request: web.Request, target: Target) -> web.Response:
        options = WriteOptions.of(request)
        obj, warnings = await self._object(request, target, options)
        if not meta(obj).get("name"):
            raise BadRequest("the name of the object is required in its metadata")

        def operation(draft: Draft) -> Object:
            return self._update(draft, target, obj, options, self._present(draft, target))

        return reply_object(request, target, await self._write(options.dry_run, operation), 200, warnings)

    async def patch(self, request: web.Request, target: Target) -> web.Response:
        options = WriteOptions.of(request)
        if request.content_type == APPLY_PATCH:
            return await self._apply(request, target, options)
        patch = (await bodies.receive(request, track_duplicates=False)).value
        warnings: list[str] = []

        def operation(draft: Draft) -> Object:
            live = self._present(draft, target)
            result = patched(target.kind, target.shown(copy(live)), patch, request.content_type)
            if result.get("kind") != target.kind.kind or meta(result).get("name") != target.name:
                raise BadRequest("a patch cannot change what kind of object this is or its name")
            warnings[:] = self._check_fields(target, result, options, [])
            if meta(result).get("uid") != meta(live)["uid"]:
                raise Invalid(f"{target.kind.kind} {target.name!r}: metadata.uid: Invalid value: field is immutable")
            return self._update(draft, target, result, options, live)

        return reply_object(request, target, await self._write(options.dry_run, operation), 200, warnings)

    async def _apply(self, request: web.Request, target: Target, options: WriteOptions) -> web.Response:
        """Server-side apply: creates the object when there is none."""
        if "fieldManager" not in request.query:
            raise BadRequest(
                "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch"
            )
        config, warnings = await self._object(request, target, options)
        if meta(config).get("managedFields"):
            raise BadRequest("metadata.managedFields must be nil")
        manager = Manager(options.manager, "Apply", target.api_version, target.subresource)
        created: list[bool] = []

        def operation(draft: Draft) -> Object:
            live = draft.find((target.kind.key, target.namespace or "", target.name or ""))
            created[:] = [live is None]
            if live is None and target.subresource:
                raise NotFound.named(target.kind.resource, target.name or "")
            if live is None and not target.kind.creatable:
                raise Forbidden(f"{target.kind.resource} is forbidden: {target.kind.instead}")
            if live is not None and meta(config).get("uid") not in (None, meta(live)["uid"]):
                raise Conflict.stale(target.kind.resource, target.name or "")
            result = managers.apply(target.kind, live, copy(config), manager, options.force)
            if live is None:
                if target.kind.has_status:
                    result.pop("status", None)
                return self.store.mutations.create(draft, target.kind, result)
            if wanted := meta(config).get("resourceVersion"):
                meta(result)["resourceVersion"] = wanted
            if target.subresource:
                return self.store.mutations.update_status(draft, target.kind, result)
            return self.store.mutations.update(draft, target.kind, result)

        answer = await self._write(options.dry_run, operation)
        return reply_object(request, target, answer, 201 if created == [True] else 200, warnings)

    async def delete(self, request: web.Request, target: Target) -> web.Response:
        how, dry_run = await self._delete_options(request)
        key = (target.kind.key, target.namespace or "", target.name or "")

        gone: list[bool] = []

        def operation(draft: Draft) -> Object:
            last = self.store.mutations.delete(draft, target.kind, key, how)
            gone[:] = [draft.find(key) is None]
            return last

        last = await self._write(dry_run, operation)
        if gone == [True] and target.kind.key not in ("Pod", "ServiceAccount"):
            return reply(status.deleted(target.kind, target.name or "", meta(last)["uid"]))
        return reply(target.shown(last))

    async def delete_collection(self, request: web.Request, target: Target) -> web.Response:
        """Delete everything that is selected; the answer lists what was."""
        how, dry_run = await self._delete_options(request)
        selection = Selection.of(request)
        if target.kind.namespaced and target.namespace is None:
            raise BadRequest("deleting a collection needs a namespace")
        doomed: list[Object] = []

        def operation(draft: Draft) -> Object:
            doomed.clear()
            for key in sorted(draft.keys_of(target.kind.key)):
                obj = draft.find(key)
                if obj is None or (target.namespace and key[1] != target.namespace) or not selection.matches(obj):
                    continue
                doomed.append(copy(obj))
                self.store.mutations.delete(draft, target.kind, key, how)
            return {}

        await self._write(dry_run, operation)
        head = {"kind": f"{target.kind.kind}List", "apiVersion": target.api_version}
        metadata = {"resourceVersion": str(self.store.version)}
        return reply(head | {"metadata": metadata, "items": [target.shown(obj) for obj in doomed]})

    def _update(self, draft: Draft, target: Target, obj: Object, options: WriteOptions, live: Object) -> Object:
        if meta(obj).get("managedFields") in ([], None):
            meta(obj)["managedFields"] = meta(live).get("managedFields", [])  # replaced below, never changed in place
        elif meta(obj)["managedFields"] == [{}]:
            meta(obj)["managedFields"] = []  # how a client resets who manages what
        manager = Manager(options.manager, "Update", target.api_version, target.subresource)
        managers.record_update(target.kind, live, obj, manager)
        if target.subresource == "status":
            return self.store.mutations.update_status(draft, target.kind, obj)
        return self.store.mutations.update(draft, target.kind, obj)

    def _present(self, draft: Draft, target: Target) -> Object:
        key = (target.kind.key, target.namespace or "", target.name or "")
        return self.store.mutations.present(draft, target.kind, key)

    async def _write(self, dry_run: bool, operation: Callable[[Draft], Object]) -> Object:
        return self.store.rehearse(operation) if dry_run else await self.store.write(operation)

    async def _object(self, request: web.Request, target: Target, options: WriteOptions) -> tuple[Object, list[str]]:
        """Read the body as an object of the addressed kind, name and namespace."""
        if target.subresource and request.content_type == protobuf.MEDIA_TYPE:
            raise UnsupportedMediaType("a status is not accepted as protobuf here: send application/json")
        decoded = await bodies.receive(request, options.validation != "Ignore")
        obj = decoded.value
        if not isinstance(obj, dict):
            raise BadRequest(f"the body is no {target.kind.kind}: expected a JSON object")
        for field, wanted in (("apiVersion", target.api_version), ("kind", target.kind.kind)):
            found = obj.setdefault(field, wanted)
            if found != wanted:
                raise BadRequest(
                    f"the {field} of the object ({found}) is not that of the request ({wanted}): "
                    "send it to its own endpoint"
                )
        if not isinstance(obj.setdefault("metadata", {}), dict):
            raise BadRequest("metadata is no JSON object")
        metadata = meta(obj)
        for field, place in (("namespace", target.namespace), ("name", target.name)):
            if place is not None and metadata.setdefault(field, place) != place:
                raise BadRequest(
                    f"the {field} of the object ({metadata[field]}) does not match the {field} on the URL ({place})"
                )
        if target.kind.namespaced and target.namespace is None:
            raise BadRequest("an object of this kind is created in a namespace: /namespaces/<namespace>/...")
        warnings = self._check_fields(target, obj, options, decoded.duplicates)
        access.check_given(self.authorizer, access.caller_of(request), target, obj)
        return obj, warnings

    def _check_fields(self, target: Target, obj: Object, options: WriteOptions, duplicates: list[str]) -> list[str]:
        """Refuse (Strict) or report (Warn) unknown and duplicate fields, and drop the unknown; return all warnings."""
        if wrong := mistyped(target.kind, obj):
            raise BadRequest(
                f"{target.kind.kind} in version {target.version!r} cannot be handled as a {target.kind.kind}: {wrong}"
            )
        unknown = list(bodies.unknown_fields(target.kind, obj))
        faults = [f'unknown field "{name}"' for name in unknown] + [f'duplicate field "{name}"' for name in duplicates]
        if faults and options.validation == "Strict":
            raise BadRequest(
                f"{target.kind.kind} in version {target.version!r} cannot be handled as a {target.kind.kind}: "
                f"strict decoding error: {', '.join(faults)}"
            )
        if unknown:
            bodies.drop_unknown(target.kind, obj)
        return [*(faults if options.validation == "Warn" else ()), *advice(target.kind.key, obj)]

    async def _delete_options(self, request: web.Request) -> tuple[DeleteOptions, bool]:
        body = await bodies.read(request)
        given = bodies.decode(body, request.content_type, track_duplicates=False).value if body else {}
        if not isinstance(given, dict):
            raise BadRequest("the body is no DeleteOptions: expected a JSON object")
        policy = request.query.get("propagationPolicy") or given.get("propagationPolicy")
        if policy is None and given.get("orphanDependents"):
            policy = "Orphan"
        if policy is not None and policy not in PROPAGATIONS:
            raise Invalid(
                f"propagationPolicy: Unsupported value: {policy!r}: supported values: {', '.join(PROPAGATIONS)}"
            )
        if given.get("dryRun") not in (None, [], ["All"]):
            raise BadRequest(f"dryRun: expected All, found {given['dryRun']}")
        required = given.get("preconditions")
        required = required if isinstance(required, dict) else {}
        how = DeleteOptions(policy or "Background", required.get("uid"), required.get("resourceVersion"))
        return how, WriteOptions.of(request).dry_run or bool(given.get("dryRun"))
