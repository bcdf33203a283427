"""The volumes of a Pod as directories of this machine: ConfigMaps, Secrets, scratch space and claims.

They lie below ``<home>/run/pods/<name>`` and go with the Pod, except what a PersistentVolumeClaim holds: that lies
below ``<home>/volumes`` and goes with the claim. The files of ConfigMaps and Secrets follow these while the Pod runs
(volume_updates.py), and are readable by their owner alone. Other kinds of volumes are refused.
Source: Kubernetes core/v1 Volume.
"""

from __future__ import annotations

import json
import logging
import posixpath
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from zeroflow.knative.local.identity.tokens import KEY_FILE, Tokens
from zeroflow.knative.local.processes import volume_files
from zeroflow.knative.local.processes.container import BadContainer, Object, field, read_values
from zeroflow.knative.local.processes.mounting import Mount
from zeroflow.knative.local.processes.pods import PodContext

logger = logging.getLogger(__name__)

KINDS = ("configMap", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret")
TOKEN_S = 365 * 86400
READ_ONLY = frozenset({"configMap", "downwardAPI", "projected", "secret"})
VALUES = (("Secret", "secret"), ("ConfigMap", "configMap"))


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
            _write(volume, pod, directory, context)
        if wanted.get("subPathExpr"):
            raise BadContainer(f"volumeMount {wanted['name']!r}: this host has subPath, not subPathExpr")
        if sub_path := wanted.get("subPath"):
            directory = _part(directory, sub_path, writable=not READ_ONLY & set(volume))
        mounts.append(Mount(_mount_path(wanted), str(directory), _is_read_only(volume, wanted)))
    return tuple(mounts)


def _mount_path(wanted: Object) -> str:
    path = posixpath.normpath(str(wanted["mountPath"]))
    if not path.startswith("/") or path == "/":
        raise BadContainer(f"volumeMount {wanted['name']!r}: mountPath must be an absolute path below /")
    return path


def _is_read_only(volume: Object, wanted: Object) -> bool:
    claim = volume.get("persistentVolumeClaim") or {}
    return bool(wanted.get("readOnly") or claim.get("readOnly") or READ_ONLY & set(volume))


def unmount(root: Path) -> None:
    """Remove what `mount` wrote below `root`."""
    shutil.rmtree(root, ignore_errors=True)


def refresh(context: PodContext, pod: Object, changed: tuple[str, str] | None) -> None:
    """Have the volumes that a Pod has mounted show what is declared now; `changed`: those alone of this (kind, name).

    What cannot be shown as it is now - a key is gone that an item names - stays as it was.
    """
    root = context.home.run / "pods" / str(pod["metadata"]["name"])
    for volume in pod["spec"].get("volumes") or ():
        named = {
            (kind, str(source[field_name].get("name") or source[field_name].get("secretName") or ""))
            for source in _sources(volume)
            for kind, field_name in VALUES
            if source.get(field_name) is not None
        }
        directory = root / str(volume["name"])
        if (changed in named or (changed is None and named)) and directory.is_dir():
            try:
                volume_files.show(directory, _files(volume, pod, context))
            except BadContainer as error:
                logger.warning(
                    "pod %s keeps the files of volume %s: %s", pod["metadata"]["name"], volume["name"], error
                )


def _write(volume: Object, pod: Object, directory: Path, context: PodContext) -> None:
    kinds = set(volume) - {"name"}
    if not kinds & set(KINDS):
        said = ", ".join(sorted(kinds)) or "nothing"
        raise BadContainer(f"volume {volume['name']!r} is {said}; this host has {', '.join(KINDS)} volumes")
    files = _files(volume, pod, context) if READ_ONLY & kinds else None
    directory.mkdir(mode=0o700, parents=True)  # an ephemeral claim has no other life than its Pod's
    if files is not None:
        volume_files.show(directory, files)


def _sources(volume: Object) -> list[Object]:
    """Return what gives a volume its files: itself, or the sources of a projected one."""
    projected = volume.get("projected")
    return [volume] if projected is None else list(projected.get("sources") or ())


def _files(volume: Object, pod: Object, context: PodContext) -> dict[str, bytes]:
    """Return the files of a volume by their paths in it."""
    found: dict[str, bytes] = {}
    for source in _sources(volume):
        for path, content in _of_source(source, pod, context):
            taken = PurePosixPath(path)
            if path in found or any(str(above) in found for above in taken.parents):
                raise BadContainer(f"conflicting duplicate paths: {path!r}")
            found[path] = content
    return found


def _of_source(source: Object, pod: Object, context: PodContext) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a volume, or of one source of a projected one."""
    namespace = pod["metadata"]["namespace"]
    if "clusterTrustBundle" in source:
        raise BadContainer(
            "a projected volume has secret, configMap, downwardAPI and serviceAccountToken sources on this host, no "
            "trust bundles"
        )
    if (wanted := source.get("serviceAccountToken")) is not None:
        yield from _selected(*_token(pod, wanted, context))
    for kind, name in VALUES:
        if (wanted := source.get(name)) is not None:
            yield from _selected(wanted, read_values(kind, namespace, wanted, context.find))
    if (wanted := source.get("downwardAPI")) is not None:
        yield from _selected(*_of_pod(pod, wanted))


def _token(pod: Object, wanted: Object, context: PodContext) -> tuple[Object, dict[str, bytes]]:
    """Return a token of a Pod's account, in the form of a ConfigMap and what selects its items.

    Nothing writes it anew while the Pod runs, so that it is valid for a year, as a cluster's are whose clients do not
    read them again.
    """
    namespace, name = pod["metadata"]["namespace"], pod["spec"].get("serviceAccountName") or "default"
    account = context.find("ServiceAccount", namespace, name)
    if account is None:
        raise BadContainer(f'serviceaccounts "{name}" not found')
    path, audience = wanted.get("path"), wanted.get("audience")
    if not path:
        raise BadContainer("serviceAccountToken: path is missing")
    tokens = Tokens(context.home.secrets / KEY_FILE)
    token, _ = tokens.issue(namespace, name, account["metadata"]["uid"], [audience] if audience else [], TOKEN_S)
    return {"items": [{"key": path, "path": path}]}, {path: token.encode()}


def _of_pod(pod: Object, source: Object) -> tuple[Object, dict[str, bytes]]:
    """Return what the downward API gives, in the form of a ConfigMap and what selects its items."""
    values: dict[str, bytes] = {}
    for item in source.get("items") or ():
        path = str((item.get("fieldRef") or {}).get("fieldPath", ""))
        if not path:
            raise BadContainer(f"downwardAPI item {item.get('path')!r}: this host has fieldRef alone")
        if path in ("metadata.labels", "metadata.annotations"):
            entries = (pod["metadata"].get(path.rpartition(".")[2]) or {}).items()
            values[item["path"]] = "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(entries)).encode()
        else:
            values[item["path"]] = field(pod, path).encode()
    return {"items": [{"key": path, "path": path} for path in values]}, values


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


def _selected(source: Object, values: dict[str, bytes] | None) -> Iterator[tuple[str, bytes]]:
    items = source.get("items") or [{"key": key, "path": key} for key in values or {}]
    for item in items:
        if item["key"] not in (values or {}):
            if source.get("optional"):
                continue
            raise BadContainer(f"references non-existent key: {item['key']}")
        path = _relative(item["path"])
        if path.parts[0].startswith(".."):  # such names are the layout's own
            raise BadContainer(f"path {item['path']!r} must not start with '..'")
        yield str(path), (values or {})[item["key"]]


def _inside(directory: Path, path: str) -> Path:
    return directory / _relative(path)


def _relative(path: str) -> PurePosixPath:
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts:
        raise BadContainer(f"path {path!r} must stay inside its volume")
    return relative
