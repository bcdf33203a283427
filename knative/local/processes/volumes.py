"""The volumes of a Pod as directories of this machine: ConfigMaps, Secrets, scratch space and claims.

They lie below ``<home>/run/pods/<name>`` and go with the Pod, except what a PersistentVolumeClaim holds: that lies
below ``<home>/volumes`` and goes with the claim. Files of a Secret are readable by the host's user alone. Other kinds
of volumes are refused. Source: Kubernetes core/v1 Volume.
"""

from __future__ import annotations

import os
import posixpath
import shutil
from pathlib import Path, PurePosixPath

from zeroflow.knative.local.processes.container import BadContainer, Find, Object, read_values
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.pods import PodContext

KINDS = ("configMap", "emptyDir", "ephemeral", "persistentVolumeClaim", "secret")


def claim_names(pod: Object) -> set[str]:
    """Return the PersistentVolumeClaims that a Pod uses."""
    volumes = pod["spec"].get("volumes") or ()
    return {str(each["persistentVolumeClaim"].get("claimName")) for each in volumes if "persistentVolumeClaim" in each}


def mount(context: PodContext, pod: Object, container: Object, root: Path) -> tuple[Mount, ...]:
    """Provide the volumes that `container` mounts, below `root` unless a claim holds them.

    Raises BadContainer for what this host does not have or what is not there yet.
    """
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    mounts = []
    for wanted in container.get("volumeMounts") or ():
        volume = volumes.get(wanted["name"])
        if volume is None:
            raise BadContainer(f"volumeMount {wanted['name']!r} names no volume of the Pod")
        namespace, directory = pod["metadata"]["namespace"], root / wanted["name"]
        if "persistentVolumeClaim" in volume:
            directory = _claimed(context, namespace, volume["persistentVolumeClaim"])
        elif not directory.exists():
            _write(volume, namespace, directory, context.find)
        if wanted.get("subPathExpr"):
            raise BadContainer(f"volumeMount {wanted['name']!r}: this host has subPath, not subPathExpr")
        if sub_path := wanted.get("subPath"):
            directory = _part(directory, sub_path, writable="secret" not in volume and "configMap" not in volume)
        mounts.append(Mount(_mount_path(wanted), str(directory), _is_read_only(volume, wanted)))
    return tuple(mounts)


def _mount_path(wanted: Object) -> str:
    path = posixpath.normpath(str(wanted["mountPath"]))
    if not path.startswith("/") or path == "/":
        raise BadContainer(f"volumeMount {wanted['name']!r}: mountPath must be an absolute path below /")
    return path


def _is_read_only(volume: Object, wanted: Object) -> bool:
    claim = volume.get("persistentVolumeClaim") or {}
    return bool(wanted.get("readOnly") or claim.get("readOnly") or "secret" in volume or "configMap" in volume)


def unmount(root: Path) -> None:
    """Remove what `mount` wrote below `root`."""
    shutil.rmtree(root, ignore_errors=True)


def _write(volume: Object, namespace: str, directory: Path, find: Find) -> None:
    if "emptyDir" in volume or "ephemeral" in volume:  # an ephemeral claim has no other life than its Pod's
        directory.mkdir(mode=0o700, parents=True)
    elif "secret" in volume:
        _write_files(directory, volume["secret"], read_values("Secret", namespace, volume["secret"], find))
    elif "configMap" in volume:
        _write_files(directory, volume["configMap"], read_values("ConfigMap", namespace, volume["configMap"], find))
    else:
        kinds = ", ".join(sorted(set(volume) - {"name"})) or "nothing"
        raise BadContainer(f"volume {volume['name']!r} is {kinds}; this host has {', '.join(KINDS)} volumes")


def _claimed(context: PodContext, namespace: str, source: Object) -> Path:
    """Return the directory of a claim; raise BadContainer while there is none, in the scheduler's words."""
    name = str(source.get("claimName", ""))
    claim = context.find("PersistentVolumeClaim", namespace, name)
    if claim is None:
        raise BadContainer(f'persistentvolumeclaim "{name}" not found')
    if claim["metadata"].get("deletionTimestamp"):
        raise BadContainer(f'persistentvolumeclaim "{name}" is being deleted')
    directory = context.home.volume(namespace, name, claim["metadata"]["uid"])
    if not directory.is_dir():
        raise BadContainer(f'persistentvolumeclaim "{name}" is not bound yet')
    return directory


def _part(directory: Path, sub_path: str, *, writable: bool) -> Path:
    """Return a path inside a volume; in one that can be written to, a directory that is not there is made."""
    path = _inside(directory, sub_path)
    if not path.resolve().is_relative_to(directory.resolve()):  # a link that an earlier Pod has left
        raise BadContainer(f"path {sub_path!r} must stay inside its volume")
    if writable and not path.exists():
        path.mkdir(mode=0o700, parents=True)
    return path


def _write_files(directory: Path, source: Object, values: dict[str, bytes] | None) -> None:
    directory.mkdir(mode=0o700, parents=True)
    items = source.get("items") or [{"key": key, "path": key} for key in values or {}]
    for item in items:
        if item["key"] not in (values or {}):
            if source.get("optional"):
                continue
            raise BadContainer(f"references non-existent key: {item['key']}")
        path = _inside(directory, item["path"])
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400), "wb") as file:
            file.write((values or {})[item["key"]])


def _inside(directory: Path, path: str) -> Path:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise BadContainer(f"path {path!r} must stay inside its volume")
    return directory / relative
