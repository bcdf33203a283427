"""The volumes of a Pod as directories of this machine: ConfigMaps, Secrets and scratch space.

They lie below ``<home>/run/pods/<uid>`` and go with the Pod. Files of a Secret are readable by the host's user alone.
Other kinds of volumes are refused. Source: Kubernetes core/v1 Volume.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath

from zeroflow.knative.local.processes.container import BadContainer, Find, Mounts, Object, read_values


def mount(pod: Object, container: Object, root: Path, find: Find) -> Mounts:
    """Write the volumes that `container` mounts below `root`; raise BadContainer for what this host does not have."""
    volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    directories: dict[str, Path] = {}
    for wanted in container.get("volumeMounts") or ():
        volume = volumes.get(wanted["name"])
        if volume is None:
            raise BadContainer(f"volumeMount {wanted['name']!r} names no volume of the Pod")
        directory = root / wanted["name"]
        if not directory.exists():
            _write(volume, pod["metadata"]["namespace"], directory, find)
        sub_path = wanted.get("subPath")
        directories[wanted["mountPath"].rstrip("/")] = _inside(directory, sub_path) if sub_path else directory
    return Mounts(dict(sorted(directories.items(), reverse=True)))  # the longest path first


def unmount(root: Path) -> None:
    """Remove what `mount` wrote below `root`."""
    shutil.rmtree(root, ignore_errors=True)


def _write(volume: Object, namespace: str, directory: Path, find: Find) -> None:
    if "emptyDir" in volume:
        directory.mkdir(mode=0o700, parents=True)
    elif "secret" in volume:
        _write_files(directory, volume["secret"], read_values("Secret", namespace, volume["secret"], find))
    elif "configMap" in volume:
        _write_files(directory, volume["configMap"], read_values("ConfigMap", namespace, volume["configMap"], find))
    else:
        kinds = ", ".join(sorted(set(volume) - {"name"})) or "nothing"
        raise BadContainer(
            f"volume {volume['name']!r} is {kinds}; this host has emptyDir, secret and configMap volumes"
        )


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
