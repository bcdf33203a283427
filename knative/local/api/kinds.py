"""The kinds that the resource API knows: what they are called, where they live, how they print.

Built-in kinds come from `builtin.py`, the others from CustomResourceDefinitions as they are stored and removed.
Guarantees: a kind is known under exactly one (group, kind) and one (group, plural). Leaves objects to `store.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from zeroflow.knative.local.api.errors import NotFound
from zeroflow.knative.local.api.schemas.schema import Schema


@dataclass(frozen=True, slots=True)
class Column:
    """One printer column: what `kubectl get` shows; priority > 0 only with `-o wide`."""

    name: str
    path: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Scale:
    """Where an object says how many of it there are to be, and are."""

    spec_path: tuple[str, ...]
    status_path: tuple[str, ...]
    selector_path: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """One served version of a kind."""

    name: str
    columns: tuple[Column, ...] = ()
    status: bool = True
    scale: Scale | None = None
    schema: Schema | None = field(default=None, repr=False)  # of spec, status, ... of a custom kind


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object. `key` ("Service.serving.knative.dev", "Pod") names it everywhere inside the host."""

    group: str
    kind: str
    plural: str
    versions: tuple[Version, ...]
    storage_version: str
    namespaced: bool = True
    singular: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    durable: bool = True  # False: kept in memory only
    custom: bool = False  # comes from a CustomResourceDefinition
    generations: bool = True  # metadata.generation counts changes of what is declared
    instead: str = ""  # what to create, where over HTTP nobody makes these: only the host does
    fields: tuple[str, ...] | None = None  # top-level fields besides apiVersion, kind, metadata; None: any

    @property
    def key(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def resource(self) -> str:
        """`plural.group`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def creatable(self) -> bool:
        """Whether such objects can be created over HTTP."""
        return not self.instead

    @property
    def verbs(self) -> tuple[str, ...]:
        verbs = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
        return verbs if self.creatable else verbs[1:]

    @property
    def has_status(self) -> bool:
        return any(version.status for version in self.versions)

    def version(self, name: str) -> Version | None:
        """Return the served version of this name."""
        return next((version for version in self.versions if version.name == name), None)

    @property
    def schema(self) -> Schema | None:
        """The schema that objects are stored by."""
        stored = self.version(self.storage_version)
        return stored.schema if stored is not None else None

    def api_version(self, version: str | None = None) -> str:
        """`group/version` (the storage version unless one is named); `v1` for the core group."""
        name = version or self.storage_version
        return f"{self.group}/{name}" if self.group else name


class KindRegistry:
    """All known kinds. Lookups are by (group, kind), (group, plural) or by key."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._by_plural: dict[tuple[str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        """Make a kind known; an earlier definition of the same kind is replaced."""
        earlier = self._by_kind.get((kind.group, kind.kind))
        if earlier is not None:
            self._by_plural.pop((earlier.group, earlier.plural), None)
        self._by_kind[kind.group, kind.kind] = kind
        self._by_plural[kind.group, kind.plural] = kind

    def remove(self, kind: Kind) -> None:
        """Forget a kind; unknown kinds are ignored."""
        self._by_kind.pop((kind.group, kind.kind), None)
        self._by_plural.pop((kind.group, kind.plural), None)

    def by_kind(self, group: str, kind: str) -> Kind:
        """Raise NotFound unless this kind exists."""
        found = self._by_kind.get((group, kind))
        if found is None:
            raise NotFound(f'no matches for kind "{kind}" in group "{group}"', group=group, kind=kind)
        return found

    def by_plural(self, group: str, plural: str) -> Kind:
        """Raise NotFound unless this resource exists."""
        found = self.find_plural(group, plural)
        if found is None:
            raise NotFound("the server could not find the requested resource", group=group, kind=plural)
        return found

    def find_plural(self, group: str, plural: str) -> Kind | None:
        return self._by_plural.get((group, plural))

    def find(self, key: str) -> Kind | None:
        """Return the kind with this key ("Service.serving.knative.dev", "Pod")."""
        kind, _, group = key.partition(".")
        return self._by_kind.get((group, kind))

    def resolve(self, kind: Kind | str) -> Kind:
        """Return the Kind for a Kind or its key; raise NotFound for an unknown key."""
        if isinstance(kind, Kind):
            return kind
        name, _, group = kind.partition(".")
        return self.by_kind(group, name)

    def of(self, api_version: str, kind: str) -> Kind:
        """Return the kind of an object's apiVersion and kind; raise NotFound when that version is not served."""
        group, _, version = api_version.rpartition("/")
        found = self._by_kind.get((group, kind))
        if found is None or found.version(version) is None:
            raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"', group=group, kind=kind)
        return found

    def groups(self) -> dict[str, list[Kind]]:
        """Return group -> its kinds, in the order in which they became known."""
        groups: dict[str, list[Kind]] = {}
        for kind in self._by_kind.values():
            groups.setdefault(kind.group, []).append(kind)
        return groups

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._by_kind.values()))
