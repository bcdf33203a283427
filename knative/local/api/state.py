"""The objects in memory, and drafts of what one batch of writes will make of them.

`State` is what readers see: only what is committed. A `Draft` layers changes over a State (or another Draft), so
that a refused operation leaves nothing behind and a batch sees its own earlier writes. Objects in here are never
changed in place.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from zeroflow.knative.local.api.objects import Object, meta, owner_uids
from zeroflow.knative.local.api.persistence import Key

HISTORY_LENGTH: Final = 1000  # changes kept for watches that resume


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change of `kind` (a key). `object` of a DELETED is its last state; `old` of an ADDED is None."""

    type: str
    kind: str
    object: Object
    old: Object | None = None
    made: int = 0  # of a change that stands for all since an earlier host: the version at which the object was made

    @property
    def version(self) -> int:
        return int(meta(self.object)["resourceVersion"])

    def seen_from(self, version: int) -> Change:
        """Return the change as a watcher sees it who knows what there was at a version."""
        return Change("ADDED", self.kind, self.object) if self.made > version else self


class Layer(Protocol):
    """What a Draft can stand on."""

    def find(self, key: Key) -> Object | None: ...
    def owned_by(self, uid: str) -> set[Key]: ...
    def keys_in(self, namespace: str) -> set[Key]: ...
    def keys_of(self, kind: str) -> set[Key]: ...
    def count_of(self, kind: str) -> int: ...
    def next_version(self) -> int: ...


class State:
    """All committed objects, by kind, namespace and name, and the recent changes."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, dict[str, Object]]] = {}
        self._names: dict[str, dict[str, list[str]]] = {}  # the same keys, each namespace's names in order
        self._owned: dict[str, set[Key]] = {}
        self.version = 0  # highest resource version handed out; what is being written may have it already
        self.published = 0  # resource version of the newest change that readers can see
        self.history: deque[Change] = deque(maxlen=HISTORY_LENGTH)
        self.forgotten = 0  # resource version of the newest change that is no longer in the history

    def find(self, key: Key) -> Object | None:
        kind, namespace, name = key
        return self._objects.get(kind, {}).get(namespace, {}).get(name)

    def of(self, kind: str, namespace: str | None, after: tuple[str, str] = ("", "")) -> Iterator[Object]:
        """Yield the objects of a kind in order of namespace and name, from behind a place on."""
        for space, names, begin in self._stretches(kind, namespace, after):
            objects = self._objects[kind][space]
            for position in range(begin, len(names)):
                yield objects[names[position]]

    def count(self, kind: str, namespace: str | None, after: tuple[str, str] = ("", "")) -> int:
        """Return how many objects `of` yields."""
        return sum(len(names) - begin for _, names, begin in self._stretches(kind, namespace, after))

    def _stretches(
        self, kind: str, namespace: str | None, after: tuple[str, str]
    ) -> Iterator[tuple[str, list[str], int]]:
        """Yield namespace, its names in order and where to begin in them."""
        spaces = self._names.get(kind, {})
        for space in sorted(spaces) if namespace is None else (namespace,):
            if space >= after[0] and (names := spaces.get(space)):
                yield space, names, bisect_right(names, after[1]) if space == after[0] else 0

    def owned_by(self, uid: str) -> set[Key]:
        return set(self._owned.get(uid, ()))

    def keys_in(self, namespace: str) -> set[Key]:
        return {(kind, namespace, name) for kind, spaces in self._objects.items() for name in spaces.get(namespace, ())}

    def keys_of(self, kind: str) -> set[Key]:
        spaces = self._objects.get(kind, {})
        return {(kind, namespace, name) for namespace, objects in spaces.items() for name in objects}

    def count_of(self, kind: str) -> int:
        return sum(len(objects) for objects in self._objects.get(kind, {}).values())

    def next_version(self) -> int:
        self.version += 1
        return self.version

    def put(self, key: Key, obj: Object | None) -> Object | None:
        """Make this the object (None: remove it); return what was there."""
        kind, namespace, name = key
        spaces = self._objects.setdefault(kind, {})
        objects = spaces.setdefault(namespace, {})
        old = objects.pop(name, None)
        if (old is None) is not (obj is None):
            self._note_name(key, added=old is None)
        for uid in owner_uids(old) if old else ():
            self._owned[uid].discard(key)
            if not self._owned[uid]:
                del self._owned[uid]
        if obj is not None:
            objects[name] = obj
            for uid in owner_uids(obj):
                self._owned.setdefault(uid, set()).add(key)
        elif not objects:
            del spaces[namespace]
        return old

    def _note_name(self, key: Key, added: bool) -> None:
        kind, namespace, name = key
        spaces = self._names.setdefault(kind, {})
        names = spaces.setdefault(namespace, [])
        if added:
            insort(names, name)
            return
        del names[bisect_left(names, name)]
        if not names:
            del spaces[namespace]

    def restore(self, changes: list[Change], forgotten: int) -> None:
        """Take the changes of an earlier host as history; up to the version `forgotten` some are missing."""
        changes.sort(key=lambda change: change.version)
        kept = changes[-HISTORY_LENGTH:]
        self.forgotten = max(forgotten, changes[-len(kept) - 1].version if len(changes) > len(kept) else 0)
        self.history.extend(kept)

    def record(self, change: Change) -> None:
        """Keep a change for watches that resume."""
        self.published = change.version
        if len(self.history) == HISTORY_LENGTH:
            self.forgotten = self.history[0].version
        self.history.append(change)


class Draft:
    """Changes over a layer, in the order in which they were made; `absorb` merges an accepted draft into this one."""

    def __init__(self, below: Layer) -> None:
        self._below = below
        self._staged: dict[Key, Object | None] = {}
        self._owned: dict[str, set[Key]] = {}
        self.changes: list[tuple[Key, Change]] = []

    def find(self, key: Key) -> Object | None:
        if key in self._staged:
            return self._staged[key]
        return self._below.find(key)

    def owned_by(self, uid: str) -> set[Key]:
        candidates = self._below.owned_by(uid) | self._owned.get(uid, set())
        return {key for key in candidates if (obj := self.find(key)) is not None and uid in owner_uids(obj)}

    def keys_in(self, namespace: str) -> set[Key]:
        keys = self._below.keys_in(namespace) | {key for key in self._staged if key[1] == namespace}
        return {key for key in keys if self.find(key) is not None}

    def keys_of(self, kind: str) -> set[Key]:
        keys = self._below.keys_of(kind) | {key for key in self._staged if key[0] == kind}
        return {key for key in keys if self.find(key) is not None}

    def count_of(self, kind: str) -> int:
        """Return how many objects of a kind there are, without looking at each."""
        touched = [(key, obj) for key, obj in self._staged.items() if key[0] == kind]
        return self._below.count_of(kind) + sum(
            (obj is not None) - (self._below.find(key) is not None) for key, obj in touched
        )

    def next_version(self) -> int:
        return self._below.next_version()

    def write(self, key: Key, obj: Object) -> None:
        """Stage an object with a new resource version; the caller gives up the object."""
        old = self.find(key)
        meta(obj)["resourceVersion"] = str(self.next_version())
        self._stage(key, obj, Change("ADDED" if old is None else "MODIFIED", key[0], obj, old))

    def remove(self, key: Key) -> None:
        """Stage a removal; the last state gets a resource version of its own, as watches need it."""
        old = self.find(key)
        if old is None:
            return
        last = {**old, "metadata": {**meta(old), "resourceVersion": str(self.next_version())}}
        self._stage(key, None, Change("DELETED", key[0], last, old))

    def absorb(self, draft: Draft) -> None:
        for key, change in draft.changes:
            self._stage(key, None if change.type == "DELETED" else change.object, change)

    def _stage(self, key: Key, obj: Object | None, change: Change) -> None:
        self._staged[key] = obj
        for uid in owner_uids(obj) if obj else ():
            self._owned.setdefault(uid, set()).add(key)
        self.changes.append((key, change))

    def outcome(self) -> dict[Key, Object | None]:
        """Return the last state of every object that was touched."""
        return self._staged
