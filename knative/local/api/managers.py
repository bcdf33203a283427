"""Who manages which field: managedFields for updates, and server-side apply.

Guarantees: an apply changes only fields that it names or that this manager alone named before; a field that another
manager set to something else is a Conflict unless forced; applying the same twice changes nothing, not even a time.
Source: Kubernetes "Server-Side Apply" (merge strategy, conflicts, field management).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from zeroflow.knative.local.api import fieldsets
from zeroflow.knative.local.api.errors import Cause, Conflict
from zeroflow.knative.local.api.fieldsets import PRESENT, Leaves, Path
from zeroflow.knative.local.api.kinds import Kind
from zeroflow.knative.local.api.lists import Shape
from zeroflow.knative.local.api.objects import Object, copy, meta, now

STATUS: Final = frozenset({"status"})
NOTHING: Final[frozenset[str]] = frozenset()
MAX_UPDATERS: Final = 10  # the oldest update entries are merged beyond this
ANCIENT: Final = "ancient-changes"


@dataclass(frozen=True, slots=True)
class Manager:
    """Whoever writes: its name, how (Apply or Update), and through which subresource."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of managedFields."""

    manager: Manager
    paths: frozenset[Path]
    time: str


def record_update(kind: Kind, old: Object | None, new: Object, manager: Manager) -> None:
    """Note in `new.metadata.managedFields` what this update set and what it took from others."""
    before = _managed(kind, old, manager) if old else {}
    after = _managed(kind, new, manager)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    gone = {path for path in before if path not in after}
    entries = []
    mine = Entry(manager, frozenset(), now())
    for entry in _entries(new):
        if entry.manager == manager:
            mine = entry
        else:
            entries.append(replace(entry, paths=entry.paths - changed - gone))
    paths = (mine.paths - gone) | changed
    if paths != mine.paths:
        mine = Entry(manager, frozenset(paths), now())
    _store(new, [*entries, mine])


def apply(kind: Kind, live: Object | None, config: Object, manager: Manager, force: bool) -> Object:
    """Return the live object (or a new one) with the configuration applied; raise Conflict."""
    wanted = _managed(kind, config, manager)
    if live is None:
        created = copy(config)
        meta(created).pop("managedFields", None)
        _store(created, [Entry(manager, frozenset(wanted), now())])
        return created
    current = _managed(kind, live, manager)
    entries = _entries(live)
    others = [entry for entry in entries if entry.manager != manager]
    mine = next((entry for entry in entries if entry.manager == manager), None)
    conflicts = [(entry, path) for entry in others for path in _conflicts(wanted, current, entry.paths, live)]
    if conflicts and not force:
        raise _conflict(conflicts)
    taken: dict[Manager, set[Path]] = {}
    for entry, path in conflicts:
        taken.setdefault(entry.manager, set()).add(path)
    others = [replace(entry, paths=entry.paths - taken.get(entry.manager, set())) for entry in others]
    result = _merge(copy(live), config, manager.subresource, kind)
    held = set().union(*(entry.paths for entry in others)) if others else set()
    dropped = (mine.paths if mine else frozenset()) - set(wanted)
    for path in sorted(dropped, key=len):  # whole items before the keys that identify them
        if path not in held and not any(other[: len(path)] == path for other in held | set(wanted)):
            fieldsets.remove(result, path)
    if mine is None or mine.paths != frozenset(wanted):
        mine = Entry(manager, frozenset(wanted), now())
    _store(result, [*others, mine])
    return result


def _managed(kind: Kind, obj: Object, manager: Manager) -> Leaves:
    if manager.subresource == "status":
        return fieldsets.leaves(obj, Shape(schema=kind.schema), only=STATUS)
    return fieldsets.leaves(obj, Shape(schema=kind.schema), never=STATUS if kind.has_status else NOTHING)


def _conflicts(wanted: Leaves, current: Leaves, owned: frozenset[Path], live: Object) -> Iterator[Path]:
    """Yield the owned paths whose value the configuration would change."""
    for path in owned:
        if path in wanted:
            value = current[path] if path in current else fieldsets.find(live, path)  # no leaf any more: defaults
            if value is not None and wanted[path] not in (value, {}):
                yield path
        elif path in current and any(_replaces(wanted, path[:length]) for length in range(1, len(path))):
            yield path


def _replaces(wanted: Leaves, path: Path) -> bool:
    """Say whether the configuration has a value at this path that leaves nothing of what is below it."""
    value = wanted.get(path, PRESENT)
    return value is not PRESENT and value != {}


def _conflict(conflicts: list[tuple[Entry, Path]]) -> Conflict:
    causes = []
    for entry, path in conflicts:
        who = f'conflict with "{entry.manager.name}"'
        if entry.manager.operation == "Update":
            who += f" using {entry.manager.api_version}"
        causes.append(Cause(fieldsets.readable(path), who, "FieldManagerConflict"))
    said = [f"{cause.message}: {cause.field}" for cause in causes]
    many = f"Apply failed with {len(said)} conflicts:" + "".join(f"\n- {each}" for each in said)
    return Conflict(
        f"Apply failed with 1 conflict: {said[0]}" if len(said) == 1 else many,
        causes=[{"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in causes],
    )


def _merge(live: Object, config: Object, subresource: str, kind: Kind) -> Object:
    shape = Shape(schema=kind.schema)
    for name, value in config.items():
        if name in ("apiVersion", "kind"):
            continue
        if (name == "status") != (subresource == "status") and (kind.has_status or name != "status"):
            continue
        if name == "metadata":
            for field, part in (value or {}).items():
                if field not in fieldsets.UNMANAGED_METADATA:
                    live["metadata"][field] = merged(Shape(field), live["metadata"].get(field), part)
        else:
            live[name] = merged(shape.field(name), live.get(name), value)
    return live


def merged(shape: Shape, live: Any, config: Any) -> Any:
    """Merge a configuration value into a live one: objects by field, lists that are maps by key, the rest replaced."""
    if isinstance(live, dict) and isinstance(config, dict) and not shape.is_atomic:
        return live | {name: merged(shape.field(name), live.get(name), value) for name, value in config.items()}
    if isinstance(config, list) and isinstance(live, list):
        if shape.is_set:
            return live + [word for word in config if word not in live]
        if config and shape.is_map(live) and shape.is_map(config):
            wanted = {shape.key_of(item): item for item in config}
            kept = [merged(shape.item, item, wanted.pop(shape.key_of(item), item)) for item in live]
            return kept + list(wanted.values())
    return config


def _entries(obj: Object) -> list[Entry]:
    found = []
    written = meta(obj).get("managedFields")
    for entry in written if isinstance(written, list) else ():
        if isinstance(entry, dict) and entry.get("manager"):
            manager = Manager(
                str(entry["manager"]),
                str(entry.get("operation", "Update")),
                str(entry.get("apiVersion", "")),
                str(entry.get("subresource") or ""),
            )
            paths = frozenset(fieldsets.from_fields(entry.get("fieldsV1")))
            found.append(Entry(manager, paths, str(entry.get("time") or now())))
    return found


def _store(obj: Object, entries: list[Entry]) -> None:
    entries = [entry for entry in entries if entry.paths]
    updaters = sorted((e for e in entries if e.manager.operation == "Update"), key=lambda e: e.time)
    if len(updaters) > MAX_UPDATERS:
        old = updaters[: len(updaters) - MAX_UPDATERS + 1]
        manager = Manager(ANCIENT, "Update", old[-1].manager.api_version)
        entries = [e for e in entries if e not in old]
        entries.append(Entry(manager, frozenset().union(*(e.paths for e in old)), old[-1].time))
    entries.sort(key=lambda e: (e.manager.operation, e.time, e.manager.name, e.manager.subresource))
    if entries:
        meta(obj)["managedFields"] = [_written(entry) for entry in entries]
    else:
        meta(obj).pop("managedFields", None)


def _written(entry: Entry) -> dict[str, Any]:
    written = {
        "manager": entry.manager.name,
        "operation": entry.manager.operation,
        "apiVersion": entry.manager.api_version,
        "time": entry.time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fieldsets.to_fields(entry.paths),
    }
    if entry.manager.subresource:
        written["subresource"] = entry.manager.subresource
    return written
