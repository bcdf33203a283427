"""What kfp-kubernetes adds to a step: environment from Secrets and ConfigMaps, pod fields, a deadline, volumes, nodes.

What is not known is refused by name when the pipeline is submitted. A secret's content is never here: names and keys
go to the step, which reads it.
Source: KubernetesExecutorConfig of kfp-kubernetes' kubernetes_executor_config.proto, in its JSON form.
"""

from collections.abc import Callable
from typing import Any

from zeroflow.errors import InvalidInput
from zeroflow.functions.pipeline import scheduling, volumes
from zeroflow.functions.pipeline.fields import flag, found, mapping, only, required_text, sequence, text
from zeroflow.functions.pipeline.plan import Config, FromResource, Platform, Source
from zeroflow.functions.pipeline.volumes import ReadSource, left_out

_RESOURCES = {"secretAsEnv": ("Secret", "secret"), "configMapAsEnv": ("ConfigMap", "configMap")}


def executors_of(document: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """Return the configuration of each executor; raise InvalidInput for what no process can have."""
    configured: dict[str, dict[str, Any]] = {}
    for name, value in mapping((document or {}).get("platforms"), "platform_spec.platforms").items():
        spec = mapping(value, f"platform {name}")
        if name != "kubernetes" and spec:
            raise InvalidInput(f"platform {name} is not supported, only kubernetes is")
        only(spec, ("deploymentSpec", "pipelineConfig", "config", "platform"), f"platform {name}")
        deployment = mapping(spec.get("deploymentSpec"), f"platform {name}")
        for label, config in mapping(deployment.get("executors"), f"platform {name}").items():
            configured[label] = mapping(config, f"executor {label}")
        if spec.get("config"):
            raise InvalidInput(f"platform {name}: config is not supported yet")
    return configured


def config_of(document: dict[str, Any] | None) -> Config:
    """Read what holds for a run as a whole (PipelineConfig)."""
    platforms = mapping((document or {}).get("platforms"), "platform_spec.platforms")
    where = "pipelineConfig"
    spec = mapping(mapping(platforms.get("kubernetes"), "platform kubernetes").get(where), where)
    ttl: dict[str, tuple[str, ...]] = {
        "resourceTtlOnSuccess": ("SUCCEEDED",),
        "resourceTtlOnFailure": ("FAILED",),
        "resourceTtlOnCompletion": ("SUCCEEDED", "FAILED"),
    }
    only(spec, ("workspace", "activeDeadlineSeconds", "maxActiveRuns", *ttl), f"platform kubernetes: {where}")
    deadline_s = _seconds(spec.get("activeDeadlineSeconds"), f"{where}: activeDeadlineSeconds")
    return Config(
        _workspace(mapping(spec.get("workspace"), f"{where}: workspace")) if "workspace" in spec else None,
        deadline_s,
        {
            state: int(seconds)
            for name in reversed(ttl)
            if (seconds := _seconds(spec.get(name), f"{where}: {name}"))
            for state in ttl[name]
        },
        _count(spec.get("maxActiveRuns"), f"{where}: maxActiveRuns"),
    )


def _count(value: Any, where: str) -> int | None:
    number = _seconds(value, where)
    if number is not None and not number.is_integer():
        raise InvalidInput(f"{where} must be a whole number, found {found(value)}")
    return int(number) if number else None


def _workspace(spec: dict[str, Any]) -> dict[str, Any]:
    only(spec, ("size", "kubernetes"), "pipelineConfig: workspace")
    kubernetes = mapping(spec.get("kubernetes"), "pipelineConfig: workspace: kubernetes")
    patch = mapping(kubernetes.get("pvcSpecPatch"), "pipelineConfig: workspace: pvcSpecPatch")
    size = required_text(spec.get("size"), "pipelineConfig: workspace: size")
    return {"accessModes": ["ReadWriteOnce"], **patch, "resources": {"requests": {"storage": size}}}


def read(config: dict[str, Any], where: str, source: ReadSource) -> Platform | None:
    """Read the configuration of one executor."""
    if not config:
        return None
    known = (
        *_RESOURCES, *volumes.SETTINGS, *scheduling.SETTINGS, "fieldPathAsEnv", "podMetadata", "activeDeadlineSeconds",
        "initContainers",
    )  # fmt: skip
    for name, value in config.items():
        if name not in known and value:
            raise InvalidInput(f"{where}: the kubernetes setting {name} is not supported yet")
    pod = mapping(config.get("podMetadata"), f"{where}: podMetadata")
    fields = [mapping(item, f"{where}: fieldPathAsEnv") for item in sequence(config.get("fieldPathAsEnv"), where)]
    return Platform(
        environment=tuple(
            _resource(mapping(item, f"{where}: {name}"), kind, prefix, f"{where}: {name}", source)
            for name, (kind, prefix) in _RESOURCES.items()
            for item in sequence(config.get(name), f"{where}: {name}")
        ),
        fields={
            required_text(item.get("name"), f"{where}: fieldPathAsEnv"): _field_path(item, where) for item in fields
        },
        labels=_texts(pod.get("labels"), f"{where}: labels"),
        annotations=_texts(pod.get("annotations"), f"{where}: annotations"),
        timeout_s=_seconds(config.get("activeDeadlineSeconds"), f"{where}: activeDeadlineSeconds"),
        volumes=volumes.read(config, where, source),
        init_containers=_init_containers(config, where),
        scheduling=scheduling.read(config, where, source),
    )


def sources_of(platform: Platform | None) -> list[Source]:
    """Return what the configuration takes from the scope of its task."""
    if platform is None:
        return []
    return [
        *(item.name for item in platform.environment),
        *(volume.resource for volume in platform.volumes if volume.resource is not None),
        *(source for _, source in (platform.scheduling.given if platform.scheduling else ())),
    ]


def resolved(platform: Platform, follow: Callable[[Source], Any]) -> dict[str, Any]:
    """Return the configuration as the step gets it; raise InvalidInput when a name is none."""
    environment = []
    for item in platform.environment:
        name = follow(item.name)
        if left_out(item.name, name):
            continue
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"the name of a {item.kind} must be a text, found {found(name)}")
        environment.append({"kind": item.kind, "name": name, "keys": item.keys, "optional": item.optional})
    of_pod, mounts = volumes.resolved(platform.volumes, follow)
    node = platform.scheduling
    asked = {
        "environment": environment,
        "fields": platform.fields,
        "labels": platform.labels,
        "annotations": platform.annotations,
        "volumes": of_pod,
        "mounts": mounts,
        "init_containers": list(platform.init_containers),
        "pod": scheduling.resolved(node, follow) if node else {},
        "pull_policy": node.pull_policy if node else "",
        "security_context": node.security_context if node else {},
    }
    return {name: value for name, value in asked.items() if value}


def _resource(item: dict[str, Any], kind: str, prefix: str, where: str, source: ReadSource) -> FromResource:
    given = item.get(f"{prefix}NameParameter")
    if given is None and f"{prefix}Name" in item:
        given = {"runtimeValue": {"constant": required_text(item[f"{prefix}Name"], where)}}
    keys = [mapping(pair, f"{where}: keyToEnv") for pair in sequence(item.get("keyToEnv"), f"{where}: keyToEnv")]
    return FromResource(
        kind,
        source(mapping(given, where), where),
        {
            required_text(pair.get("envVar"), f"{where}: envVar"): required_text(pair.get(f"{prefix}Key"), where)
            for pair in keys
        },
        flag(item.get("optional"), f"{where}: optional"),
    )


def _init_containers(config: dict[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    containers = []
    for item in sequence(config.get("initContainers"), f"{where}: initContainers"):
        read = mapping(item, f"{where}: initContainers")
        name = required_text(read.get("name"), f"{where}: initContainers: name")
        place = f"{where}: init container {name}"
        known = ("name", "image", "command", "args", "env", "volumeMounts", "restartPolicy", "resources")
        only(read, known, place)
        mounts = [mapping(mount, place) for mount in sequence(read.get("volumeMounts"), place)]
        container = {key: value for key, value in read.items() if key != "volumeMounts" and value}
        if mounts:
            container["volumeMounts"] = [
                {"name": required_text(mount.get("volumeName"), place), "mountPath": mount.get("mountPath")}
                for mount in mounts
            ]
        containers.append(container)
    return tuple(containers)


FIELD_PREFIXES = ("metadata.labels[", "metadata.annotations[")
FIELDS = ("metadata.name", "metadata.namespace", "metadata.uid")


def _field_path(item: dict[str, Any], where: str) -> str:
    path = required_text(item.get("fieldPath"), f"{where}: fieldPath")
    if path not in FIELDS and not path.startswith(FIELD_PREFIXES):
        raise InvalidInput(f"{where}: a process has no pod field {path!r}; supported are {', '.join(FIELDS)}, labels")
    return path


def _texts(value: Any, where: str) -> dict[str, str]:
    return {key: text(item, where) for key, item in mapping(value, where).items()}


def _seconds(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, str) and value.isdigit():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise InvalidInput(f"{where} must be a number, 0 or more, found {found(value)}")
    return float(value) or None
