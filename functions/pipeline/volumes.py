"""Volumes that kfp-kubernetes asks for, as Kubernetes spells them; names of resources may come from the run.

A volume is called what kfp-kubernetes calls it, since init containers refer to it by that name: its own name, or that
of the Secret, ConfigMap or claim.
Source: KubernetesExecutorConfig of kfp-kubernetes' kubernetes_executor_config.proto; Kubernetes core/v1 Volume.
"""

import posixpath
from collections.abc import Callable
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline.expressions import ABSENT
from zeroflow.functions.pipeline.fields import flag, found, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.plan import Constant, FromScope, Source, Volume

ReadSource = Callable[[dict[str, Any], str], Source]
"""Reads an InputParameterSpec, which refers to the scope of the task."""

_NAMED = {
    "secretAsVolume": ("secret", "secretName", "secretNameParameter"),
    "configMapAsVolume": ("configMap", "configMapName", "configMapNameParameter"),
    "pvcMount": ("persistentVolumeClaim", "constant", "pvcNameParameter"),
}
SETTINGS = (*_NAMED, "emptyDirMounts", "genericEphemeralVolume", "enabledSharedMemory")
SHARED_MEMORY_PATH = "/dev/shm"  # noqa: S108 - the path at which every program looks for shared memory
_FIELDS = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}


def read(config: dict[str, Any], where: str, source: ReadSource) -> tuple[Volume, ...]:
    """Read every volume of an executor's configuration; two at one place raise InvalidInput."""
    volumes: list[Volume] = []
    for setting, (kind, constant, parameter) in _NAMED.items():
        for item in _items(config, setting, where):
            volumes.append(_named(item, kind, constant, parameter, f"{where}: {setting}", source))
    for item in _items(config, "emptyDirMounts", where):
        place = f"{where}: emptyDirMounts"
        only(item, ("volumeName", "mountPath", "medium", "sizeLimit"), place)
        volumes.append(_own(item, "emptyDir", _texts(item, ("medium", "sizeLimit"), place), place))
    for item in _items(config, "genericEphemeralVolume", where):
        volumes.append(_ephemeral(item, f"{where}: genericEphemeralVolume"))
    if shared := mapping(config.get("enabledSharedMemory"), f"{where}: enabledSharedMemory"):
        spec = {"medium": "Memory", **({"sizeLimit": shared["size"]} if shared.get("size") else {})}
        given = {"volumeName": shared.get("volumeName") or "shm", "mountPath": SHARED_MEMORY_PATH}
        volumes.append(_own(given, "emptyDir", spec, f"{where}: enabledSharedMemory"))
    places = [volume.mount_path for volume in volumes]
    for place in places:
        if places.count(place) > 1:
            raise InvalidInput(f"{where}: two volumes are mounted at {place}")
    return tuple(volumes)


def resolved(volumes: tuple[Volume, ...], follow: Callable[[Source], Any]) -> tuple[list[Any], list[Any]]:
    """Return a pod's `volumes` and a container's `volumeMounts`; raise InvalidInput when a name is none."""
    of_pod: dict[str, dict[str, Any]] = {}
    mounts = []
    for volume in volumes:
        name, spec = volume.name, dict(volume.spec)
        if volume.resource is not None:
            name = follow(volume.resource)
            if left_out(volume.resource, name):
                continue
            if not isinstance(name, str) or not name:
                raise InvalidInput(f"the name of the {volume.kind} at {volume.mount_path} must be a text, "
                                   f"found {found(name)}")  # fmt: skip
            spec[_FIELDS[volume.kind]] = name
        of_pod[name] = {"name": name, volume.kind: spec}
        sub_path = {"subPath": volume.sub_path} if volume.sub_path else {}
        mounts.append({"name": name, "mountPath": volume.mount_path, **sub_path})
    return list(of_pod.values()), mounts


def left_out(source: Source, value: Any) -> bool:
    """Say whether a setting is not meant: it takes its name from an optional input that nobody has given."""
    return isinstance(source, FromScope) and (value is ABSENT or value is None)


def _items(config: dict[str, Any], setting: str, where: str) -> list[dict[str, Any]]:
    return [mapping(item, f"{where}: {setting}") for item in sequence(config.get(setting), f"{where}: {setting}")]


def _named(item: dict[str, Any], kind: str, constant: str, parameter: str, where: str, source: ReadSource) -> Volume:
    known = (constant, parameter, "mountPath", "optional", "subPath", "taskOutputParameter", "componentInputParameter")
    only(item, known, where)
    given = item.get(parameter)
    if given is None:  # before kfp-kubernetes 1.4 the source stood beside the mount path
        given = {key: item[key] for key in ("taskOutputParameter", "componentInputParameter") if key in item}
        if constant in item:
            given = {"runtimeValue": {"constant": required_text(item[constant], where)}}
    optional = {"optional": True} if flag(item.get("optional"), f"{where}: optional") else {}
    return Volume(
        kind, _mount_path(item, where), "", source(mapping(given, where), where), optional, _sub_path(item, where)
    )


def _own(item: dict[str, Any], kind: str, spec: dict[str, Any], where: str) -> Volume:
    name = required_text(item.get("volumeName"), f"{where}: volumeName")
    return Volume(kind, _mount_path(item, where), name, None, spec)


def _ephemeral(item: dict[str, Any], where: str) -> Volume:
    known = (
        "volumeName", "mountPath", "accessModes", "size", "defaultStorageClass", "storageClassName", "metadata",
    )  # fmt: skip
    only(item, known, where)
    claim: dict[str, Any] = {
        "accessModes": [text(mode, f"{where}: accessModes") for mode in sequence(item.get("accessModes"), where)],
        "resources": {"requests": {"storage": required_text(item.get("size"), f"{where}: size")}},
    }
    if not flag(item.get("defaultStorageClass"), f"{where}: defaultStorageClass"):
        claim["storageClassName"] = text(item.get("storageClassName"), f"{where}: storageClassName")
    metadata = mapping(item.get("metadata"), f"{where}: metadata")
    template = {"spec": claim, **({"metadata": metadata} if metadata else {})}
    return _own(item, "ephemeral", {"volumeClaimTemplate": template}, where)


def _mount_path(item: dict[str, Any], where: str) -> str:
    path = required_text(item.get("mountPath"), f"{where}: mountPath")
    if ":" in path or ".." in path.split("/") or "\0" in path:
        raise InvalidInput(f"{where}: mountPath {path!r} may have neither ':' nor '..'")
    return posixpath.normpath("/" + path.lstrip("/"))  # Kubernetes takes a path without a slash as one below the root


def _sub_path(item: dict[str, Any], where: str) -> str:
    path = text(item.get("subPath"), f"{where}: subPath")
    if path.startswith("/") or ".." in path.split("/"):
        raise InvalidInput(f"{where}: subPath {path!r} must stay inside its volume")
    return path


def _texts(item: dict[str, Any], names: tuple[str, ...], where: str) -> dict[str, Any]:
    return {name: text(item[name], f"{where}: {name}") for name in names if item.get(name)}


def workspace(claim: str, path: str) -> Volume:
    """Return the volume that the tasks of one run share."""
    return Volume("persistentVolumeClaim", path, "", Constant(claim), {})
