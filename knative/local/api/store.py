"""The durable store of declared resources: what every room of the host reads, writes and listens to.

Guarantees
- Reads are from memory, see only committed objects and return copies.
- A write has reached the disk when its coroutine returns (kinds `Pod` and `Event` live in memory only). Writes that
  arrive while another is being flushed share the next flush. A write that is refused leaves nothing behind.
- Subscribers see each committed change once, in order. resourceVersion is one increasing number for the whole store.
Leaves HTTP to `rest/`, the rules of a write to `mutations.py`, bytes to `persistence.py`. One event loop uses a
Store at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from zeroflow.knative.local.api import crds, managers
from zeroflow.knative.local.api.builtin import BUILTIN_KINDS, CRD_KEY, INITIAL_NAMESPACES
from zeroflow.knative.local.api.deletions import DeleteOptions
from zeroflow.knative.local.api.errors import Expired, NotFound
from zeroflow.knative.local.api.kinds import Kind, KindRegistry
from zeroflow.knative.local.api.managers import Manager
from zeroflow.knative.local.api.mutations import Hook, Mutations, key_of
from zeroflow.knative.local.api.objects import Object, copy
from zeroflow.knative.local.api.objects import labels as labels_of
from zeroflow.knative.local.api.persistence import RESERVED_BLOCK, Key, ResourceFile
from zeroflow.knative.local.api.selectors import matches_labels
from zeroflow.knative.local.api.state import Change, Draft, State
from zeroflow.knative.local.api.subscriptions import Subscription

T = TypeVar("T")
Operation = Callable[[Draft], T]


class Store:
    """See the module. `path=None` keeps everything in memory (tests)."""

    def __init__(self, path: Path | None = None) -> None:
        self.kinds = KindRegistry(BUILTIN_KINDS)
        self._file = ResourceFile(path)
        self._state = State()
        self._hooks: dict[str, list[Hook]] = {}
        self._mutations = Mutations(self.kinds, self._hooks)
        self._subscriptions: list[Subscription] = []
        self._queue: list[tuple[Operation[Object], asyncio.Future[Object]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "resources")
        self._load()

    def _load(self) -> None:
        definitions, changes = [], []
        for key, obj, created in self._file.objects():
            self._state.put(key, obj)
            if key[0] == CRD_KEY:
                definitions.append(obj)
            changes.append(Change("MODIFIED", key[0], obj, obj, created))
        for definition in definitions:
            self.kinds.add(crds.kind_of(definition))
        changes += [Change("DELETED", key[0], obj, obj) for _, key, obj in self._file.deletions()]
        self._state.restore(changes, self._file.counter("forgotten"))
        self._reserved = self._started_at = self._file.counter("resource_version")
        self._state.version = self._state.published = self._reserved
        draft = Draft(self._state)
        for name in INITIAL_NAMESPACES:
            if draft.find(("Namespace", "", name)) is None:
                self._mutations.create(draft, self.kinds.resolve("Namespace"), {"metadata": {"name": name}})
        self._flush(draft)
        self._publish(draft)

    # reading

    def get(self, kind: Kind | str, namespace: str | None, name: str) -> Object:
        """Return a copy of the object; raise NotFound."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise NotFound.named(self.kinds.resolve(kind).resource, name)
        return found

    def find(self, kind: Kind | str, namespace: str | None, name: str) -> Object | None:
        """Return a copy of the object, or None (also when nobody knows the kind)."""
        if isinstance(kind, str) and self.kinds.find(kind) is None:
            return None
        found = self._state.find(self._key(kind, namespace, name))
        return None if found is None else copy(found)

    def look(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """Return the object itself, to be read only and at once."""
        return self._state.find(self._key(kind, namespace, name))

    def list(
        self, kind: Kind | str, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> list[Object]:
        """Return copies of the objects of a kind that carry these labels, by namespace and name."""
        return [copy(obj) for obj in self.peek(kind, namespace) if matches_labels(labels_of(obj), labels)]

    def peek(
        self, kind: Kind | str, namespace: str | None = None, after: tuple[str, str] = ("", "")
    ) -> Iterable[Object]:
        """Return the objects themselves, to be read only and at once, those after a (namespace, name) in their order.

        None for an unknown kind.
        """
        return self._state.of(kind if isinstance(kind, str) else kind.key, namespace or None, after)

    def count(self, kind: Kind, namespace: str | None = None, after: tuple[str, str] = ("", "")) -> int:
        """Return how many objects `peek` would."""
        return self._state.count(kind.key, namespace or None, after)

    @property
    def version(self) -> int:
        """The resourceVersion of a list made now: every later change has a higher one."""
        return self._state.published

    def is_forgotten(self, version: int) -> bool:
        """Say whether changes after this version are no longer all kept."""
        return version < self._state.forgotten

    def was_before(self, version: int) -> bool:
        """Say whether this version is of an earlier host: of the changes since, the last of each object is kept."""
        return version < self._started_at

    # writing

    async def create(self, obj: Object) -> Object:
        """Create an object: uid, resourceVersion, creationTimestamp, generation, a name from generateName.

        Raises NotFound when its controller is gone: who made it was overtaken by the controller's deletion.
        """
        kind = self._kind_of(obj)
        return await self.write(lambda draft: self._create(draft, kind, copy(obj)))

    def _create(self, draft: Draft, kind: Kind, obj: Object) -> Object:
        self._mutations.place(kind, obj)
        self._mutations.check_controller(draft, obj)
        return self._mutations.create(draft, kind, obj)

    async def update(self, obj: Object) -> Object:
        """Replace everything but status; Conflict when metadata.resourceVersion is given and not the latest."""
        kind = self._kind_of(obj)
        return await self.write(lambda draft: self._mutations.update(draft, kind, copy(obj)))

    async def update_status(self, obj: Object) -> Object:
        """Replace status alone; neither a write nor a change when it is the same."""
        kind = self._kind_of(obj)
        return await self.write(lambda draft: self._mutations.update_status(draft, kind, copy(obj)))

    async def apply(self, obj: Object, manager: str = "zeroflow") -> Object:
        """Make the object what this manifest says, whoever wrote its fields before; NotFound as in `create`."""
        kind = self._kind_of(obj)
        writer = Manager(manager, "Apply", kind.api_version())
        return await self.write(lambda draft: self._apply(draft, kind, copy(obj), writer))

    def _apply(self, draft: Draft, kind: Kind, obj: Object, writer: Manager) -> Object:
        self._mutations.place(kind, obj)
        live = draft.find(key_of(kind, obj))
        applied = managers.apply(kind, live, obj, writer, force=True)
        if live is None:
            return self._create(draft, kind, applied)
        return self._mutations.update(draft, kind, applied)

    async def delete(
        self, kind: Kind | str, namespace: str | None, name: str, options: DeleteOptions | None = None
    ) -> Object:
        """Delete an object and what it owns; with finalizers it is only marked. Return its last state."""
        found, key = self.kinds.resolve(kind), self._key(kind, namespace, name)
        return await self.write(lambda draft: self._mutations.delete(draft, found, key, options or DeleteOptions()))

    def admit(self, kind: str, hook: Hook) -> None:
        """Run `hook(new, old)` on each create and update of a kind: it returns what to store or raises Invalid."""
        self._hooks.setdefault(kind, []).append(hook)

    async def write(self, operation: Operation[Object]) -> Object:
        """Run an operation on a draft of the store and return a copy of its answer once all of it is durable."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Object] = loop.create_future()
        self._queue.append((operation, answer))
        if self._writer is None or self._writer.done():
            self._writer = loop.create_task(self._write_queued())
        return copy(await answer)

    def rehearse(self, operation: Operation[Object]) -> Object:
        """Run an operation and keep nothing of it (dryRun=All)."""
        return copy(operation(Draft(self._state)))

    @property
    def mutations(self) -> Mutations:
        """The rules of a write, for operations given to `write` and `rehearse`."""
        return self._mutations

    async def _write_queued(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch, self._queue = self._queue, []
            draft = Draft(self._state)
            accepted: list[tuple[asyncio.Future[Object], Object]] = []
            for operation, answer in batch:
                if answer.done():
                    continue
                step = Draft(draft)
                try:
                    result = operation(step)
                except StopIteration as error:  # no future can carry it
                    answer.set_exception(RuntimeError(f"an operation ended with {error!r}"))
                    continue
                except Exception as error:
                    answer.set_exception(error)
                    continue
                draft.absorb(step)
                accepted.append((answer, result))
            try:
                if self._must_flush(draft):
                    await loop.run_in_executor(self._thread, self._flush, draft)
                self._publish(draft)
            except Exception as error:
                for answer, _ in accepted:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for answer, result in accepted:
                if not answer.done():
                    answer.set_result(result)

    def _durable(self, key: Key) -> bool:
        kind = self.kinds.find(key[0])
        return kind is None or kind.durable

    def _must_flush(self, draft: Draft) -> bool:
        return self._state.version > self._reserved or any(self._durable(key) for key in draft.outcome())

    def _flush(self, draft: Draft) -> None:
        made = {key: change.version for key, change in draft.changes if change.type == "ADDED"}
        rows = [(key, obj, made.get(key)) for key, obj in draft.outcome().items() if self._durable(key)]
        deletions = [
            (change.version, key, change.object)
            for key, change in draft.changes
            if change.type == "DELETED" and self._durable(key)
        ]
        reserved = self._state.version + RESERVED_BLOCK if self._state.version > self._reserved else self._reserved
        if rows or reserved != self._reserved:
            self._file.write(rows, deletions, reserved)
        self._reserved = reserved

    def _publish(self, draft: Draft) -> None:
        for key, change in draft.changes:
            self._state.put(key, None if change.type == "DELETED" else change.object)
            self._state.record(change)
            if key[0] == CRD_KEY:
                self._learn(change)
            for subscription in self._subscriptions:
                if change.kind in subscription.kinds:
                    subscription.push(change)

    def _learn(self, change: Change) -> None:
        defined = crds.kind_of(change.object)
        if change.type == "DELETED":
            self.kinds.remove(defined)
        else:
            self.kinds.add(defined)

    # listening

    def subscribe(
        self,
        kinds: Iterable[str],
        replay: bool = True,
        since: int | None = None,
        limit: int | None = None,
        copies: bool = True,
    ) -> Subscription:
        """Listen to kinds, known or not yet; `since` replays the changes after a version instead, or raises Expired.

        Without `copies` the objects are the store's own: for who only reads them.
        """
        wanted = list(kinds)
        replayed: list[Change] = []
        if since is not None:
            fleeting = self.was_before(since) and any(not self._durable((key, "", "")) for key in wanted)
            if self.is_forgotten(since) or fleeting:
                oldest = self._started_at if fleeting else self._state.forgotten
                raise Expired(f"too old resource version: {since} ({oldest})")
            kept = self._state.history
            replayed = [change.seen_from(since) for change in kept if change.kind in wanted and change.version > since]
        elif replay:
            replayed = [Change("ADDED", key, obj) for key in wanted for obj in self._state.of(key, None)]
        subscription = Subscription(wanted, replayed, self._forget, limit, copies)
        self._subscriptions.append(subscription)
        return subscription

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def close(self) -> None:
        """Finish queued writes, end subscriptions and close the file."""
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer])
        for subscription in list(self._subscriptions):
            subscription.close()
        self._thread.shutdown()
        self._file.close()

    def _kind_of(self, obj: Object) -> Kind:
        return self.kinds.of(str(obj.get("apiVersion", "")), str(obj.get("kind", "")))

    def _key(self, kind: Kind | str, namespace: str | None, name: str) -> Key:
        found = self.kinds.resolve(kind)
        return found.key, (namespace or "") if found.namespaced else "", name
