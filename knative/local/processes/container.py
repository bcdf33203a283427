"""A Kubernetes container read as a process: command line, environment, directory, limits.

Kubernetes' rules hold where a process can follow them: `command` then `args`, `$(VAR)` in both and in values,
`envFrom` before `env`, optional references, `fieldRef`. What a process cannot be given is refused with a reason that
a Pod status can carry.

`resources.limits.memory` bounds the process's data (RLIMIT_DATA, with some slack, see child.py): what asks for more
gets an error from its allocator. `limits.cpu` is whole processors of their own for what runs to its end, a Job's Pod
(pod_run.py), and has no effect on a Service; `requests` have none on this host; `securityContext` is read by
security.py. Source: Kubernetes core/v1 Container.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.images import Images
from zeroflow.knative.local.processes.runtimes import ANNOTATION
from zeroflow.resources import quantities

Object = dict[str, Any]
Find = Callable[[str, str, str], Object | None]
"""(kind, namespace, name) -> object; `Store.find`."""

_REFERENCE = re.compile(r"\$(\$|\(([^()]+)\))")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class NotRunnable(ZeroflowError):
    """The container is an image without a command: there is nothing that a host of processes could run."""

    reason = "ContainerMissing"


class BadContainer(ZeroflowError):
    """The container refers to something that is missing or that this host does not have."""

    reason = "CreateContainerConfigError"


@dataclass(frozen=True)
class Resolved:
    """A container as a process."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: Path | None = None
    runtime: str | None = None
    memory_bytes: int | None = None


def resolve(
    pod: Object, container: Object, base: Mapping[str, str], find: Find, images: Images | None = None
) -> Resolved:
    """Return the process that `container` of `pod` is; `base` is the environment that it starts from.

    Of a mapped image the directory's programs go first, and its command is the one when the container has none.
    """
    mapped = images.of(str(container.get("image", ""))) if images else None
    env = environment(pod, container, {**base, **mapped.environment(base)} if mapped else base, find)
    if mapped and not container.get("command"):
        container = {**container, "command": list(mapped.command)}
    argv = container_argv(container, env)
    argv = tuple(mapped.word(word) for word in argv) if mapped else argv
    directory = container.get("workingDir") or (mapped.working_directory if mapped else None)
    runtime = (pod["metadata"].get("annotations") or {}).get(ANNOTATION)
    return Resolved(
        argv=argv,
        env=env,
        cwd=Path(directory) if directory else None,
        runtime=runtime if runtime and Path(argv[0]).name == "gunicorn" else None,
        memory_bytes=_memory_bytes(container),
    )


def container_argv(container: Object, env: Mapping[str, str]) -> tuple[str, ...]:
    """Return command and args with `$(VAR)` replaced; raise NotRunnable when the container is only an image."""
    command = container.get("command") or []
    if not command:
        raise NotRunnable(
            f"Unable to fetch image {container.get('image', '')!r}: this host runs processes and no images; "
            f"give container {container.get('name', '')!r} a `command` (and `args`) of a program on this machine, or"
            " say what stands for the image: zeroflow images map IMAGE DIRECTORY -- COMMAND"
        )
    return tuple(expand(word, env) for word in (*command, *(container.get("args") or ())))


def expand(text: str, env: Mapping[str, str]) -> str:
    """Replace `$(VAR)` where VAR is known and `$$` by `$`; leave the rest as it is."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return env.get(match[2], match[0])

    return _REFERENCE.sub(replacement, text)


def environment(pod: Object, container: Object, base: Mapping[str, str], find: Find) -> dict[str, str]:
    """Return the container's environment on top of `base`; raise BadContainer for what is not there."""
    env = dict(base)
    namespace = pod["metadata"]["namespace"]
    for source in container.get("envFrom") or ():
        for kind, field_name in (("ConfigMap", "configMapRef"), ("Secret", "secretRef")):
            if field_name in source:
                values = read_values(kind, namespace, source[field_name], find) or {}
                env |= {f"{source.get('prefix', '')}{name}": text(value, name) for name, value in values.items()}
    for variable in container.get("env") or ():
        value = _value(variable, pod, env, find)
        if value is not None:
            env[variable["name"]] = value
    return env


def read_values(kind: str, namespace: str, reference: Object, find: Find) -> dict[str, bytes] | None:
    """Return the entries of a ConfigMap or Secret, None when it is optional and missing."""
    name = str(reference.get("name") or reference.get("secretName") or "")
    found = find(kind, namespace, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise BadContainer(f'{kind.lower()} "{name}" not found')
    if kind == "ConfigMap":
        plain = {key: str(value).encode() for key, value in (found.get("data") or {}).items()}
        return plain | {key: base64.b64decode(value) for key, value in (found.get("binaryData") or {}).items()}
    encoded = {key: base64.b64decode(value) for key, value in (found.get("data") or {}).items()}
    return encoded | {key: str(value).encode() for key, value in (found.get("stringData") or {}).items()}


def _value(variable: Object, pod: Object, env: Mapping[str, str], find: Find) -> str | None:
    source = variable.get("valueFrom")
    if source is None:
        return expand(str(variable.get("value") or ""), env)
    if reference := source.get("fieldRef"):
        return field(pod, str(reference["fieldPath"]))
    for kind, name in (("ConfigMap", "configMapKeyRef"), ("Secret", "secretKeyRef")):
        if reference := source.get(name):
            values = read_values(kind, pod["metadata"]["namespace"], reference, find)
            if values is not None and reference["key"] in values:
                return text(values[reference["key"]], reference["key"])
            if reference.get("optional"):
                return None
            raise BadContainer(f"couldn't find key {reference['key']} in {kind} {reference.get('name')}")
    raise BadContainer(f"env {variable['name']}: valueFrom {', '.join(source)} is not available on this host")


def field(pod: Object, path: str) -> str:
    """Return a field of a Pod as the downward API gives it; raise BadContainer for another one."""
    metadata = pod["metadata"]
    if match := _SUBSCRIPT.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata.get("uid", ""),
        "spec.nodeName": "localhost",
        "spec.serviceAccountName": (pod.get("spec") or {}).get("serviceAccountName", "default"),
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    if path not in known:
        raise BadContainer(f"fieldRef {path!r} is not available on this host; there are: {', '.join(known)}")
    return str(known[path])


def text(value: bytes, name: str) -> str:
    """Return an entry as an environment value; raise BadContainer when it cannot be one."""
    try:
        decoded = value.decode()
    except UnicodeDecodeError as error:
        raise BadContainer(f"key {name}: not UTF-8 text, so it cannot be an environment value") from error
    if "\0" in decoded:
        raise BadContainer(f"key {name}: contains a NUL, so it cannot be an environment value")
    return decoded


def _memory_bytes(container: Object) -> int | None:
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return None if limit is None else quantity(str(limit))


def processors(container: Object) -> int | None:
    """Return how many whole processors a container may use, None without a limit; half of one is not enforced."""
    limit = ((container.get("resources") or {}).get("limits") or {}).get("cpu")
    return None if limit is None else max(1, math.ceil(amount(str(limit))))


def quantity(written: str) -> int:
    """Return a Kubernetes quantity as a whole number; raise BadContainer for another notation."""
    return int(amount(written))


def amount(written: str) -> float:
    """Return a Kubernetes quantity; raise BadContainer for another notation."""
    try:
        return quantities.amount(written)
    except InvalidInput as error:
        raise BadContainer(f"quantity {error}") from error
