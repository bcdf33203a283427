"""func.yaml as `zeroflow deploy` reads it; what this host cannot do is refused by name.

Source: Knative Functions, func_yaml schema; func's env forms (`{{ env:X }}`, `{{ secret:name:key }}`, ...).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zeroflow.errors import InvalidInput

Object = dict[str, Any]

NAME = "func.yaml"
_DNS = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_FORM = re.compile(r"\{\{\s*(env|secret|configMap):([-._\w]+)(?::([-._\w]+))?\s*\}\}")
_TOP = frozenset({"specVersion", "name", "domain", "runtime", "registry", "registryInsecure", "image", "namespace"}) | {
    *("deployer", "created", "invoke", "build", "run", "deploy")
}
_DEPLOY = frozenset({"namespace", "image", "annotations", "labels", "options", "healthEndpoints"}) | {
    *("serviceAccountName", "imagePullSecret", "deployer", "subscriptions", "managementDisabled")
}
_SOURCES = {"secret": ("secretKeyRef", "secretRef"), "configMap": ("configMapKeyRef", "configMapRef")}
_SCALE = {
    "min": "min-scale",
    "max": "max-scale",
    "metric": "metric",
    "target": "target",
    "utilization": "target-utilization-percentage",
}


@dataclass(frozen=True)
class FuncYaml:
    """What a project's func.yaml says, in the terms of a Knative Service."""

    name: str
    namespace: str
    invoke: str = "http"
    env: tuple[Object, ...] = ()
    env_from: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()
    mounts: tuple[Object, ...] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)
    scale: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    resources: Object = field(default_factory=dict)
    concurrency: int | None = None
    liveness: str = "/health/liveness"
    readiness: str = "/health/readiness"
    service_account: str | None = None
    start_timeout_s: int | None = None
    subscriptions: tuple[Object, ...] = ()
    build_env: Mapping[str, str] = field(default_factory=dict)


def read(folder: Path, namespace: str | None = None, environment: Mapping[str, str] = os.environ) -> FuncYaml:
    """Read a project's func.yaml; raise InvalidInput naming the field, what was expected and what was found."""
    document = _document(folder / NAME)
    _known(document, _TOP, "")
    run, deploy, build = (_mapping(document, name) for name in ("run", "deploy", "build"))
    _known(run, {"volumes", "envs", "startTimeout", "kafka"}, "run.")
    _known(deploy, _DEPLOY, "deploy.")
    _refuse_absent(document, run, build)
    name = str(document.get("name") or folder.resolve().name)
    if not _DNS.fullmatch(name):
        raise InvalidInput(f"{NAME}: name must be a DNS-1035 label such as my-function, got {name!r}")
    env, env_from = _environment(run.get("envs") or [], environment)
    volumes, mounts = _volumes(run.get("volumes") or [])
    options = _mapping(deploy, "options")
    resources = _mapping(options, "resources")
    limits = dict(_mapping(resources, "limits"))
    concurrency = limits.pop("concurrency", None)
    health = _mapping(deploy, "healthEndpoints")
    return FuncYaml(
        name=name,
        namespace=namespace or deploy.get("namespace") or document.get("namespace") or "default",
        invoke=str(document.get("invoke") or "http"),
        env=env,
        env_from=env_from,
        volumes=volumes,
        mounts=mounts,
        annotations={str(key): str(value) for key, value in _mapping(deploy, "annotations").items()},
        scale={_scale(key): _number(value) for key, value in _mapping(options, "scale").items()},
        labels=_labels(deploy.get("labels") or [], environment),
        resources={key: value for key, value in (("limits", limits), ("requests", resources.get("requests"))) if value},
        concurrency=concurrency,
        liveness=health.get("liveness") or FuncYaml.liveness,
        readiness=health.get("readiness") or FuncYaml.readiness,
        service_account=deploy.get("serviceAccountName"),
        start_timeout_s=run.get("startTimeout"),
        subscriptions=tuple(_subscriptions(deploy.get("subscriptions") or [])),
        build_env={
            each["name"]: _local(str(each.get("value", "")), environment) for each in build.get("buildEnvs") or []
        },
    )


def _document(path: Path) -> Object:
    import yaml

    from zeroflow import safe_yaml

    try:
        document = safe_yaml.load(path.read_text())
    except FileNotFoundError as error:
        raise InvalidInput(
            f"{path.parent} is no function project: it has no {NAME} (`func create -l python` makes one)"
        ) from error
    except yaml.YAMLError as error:
        raise InvalidInput(f"{path} is not YAML: {error}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} must hold a mapping, got {type(document).__name__}")
    return document


def _known(given: Object, known: frozenset[str] | set[str], where: str) -> None:
    if unknown := sorted(set(given) - known):
        raise InvalidInput(f"{NAME}: {where}{unknown[0]} is no field; there are: {', '.join(sorted(known))}")


def _mapping(parent: Object, name: str) -> Object:
    value = parent.get(name) or {}
    if not isinstance(value, dict):
        raise InvalidInput(f"{NAME}: {name} must be a mapping, got {value!r}")
    return value


def _refuse_absent(document: Object, run: Object, build: Object) -> None:
    runtime = document.get("runtime") or "python"
    if runtime != "python":
        raise InvalidInput(f"{NAME}: runtime {runtime!r} does not run here; this host runs python functions")
    if (invoke := document.get("invoke") or "http") not in ("http", "cloudevent"):
        raise InvalidInput(f"{NAME}: invoke must be http or cloudevent, got {invoke!r}")
    for what, value, instead in (
        ("domain", document.get("domain"), "create a DomainMapping"),
        ("deployer", document.get("deployer") not in (None, "", "knative"), "this host is a Knative"),
        ("run.kafka", run.get("kafka"), "this host has no Kafka source; use subscriptions"),
        ("build.git", build.get("git"), "check the repository out and deploy its folder"),
    ):
        if value:
            raise InvalidInput(f"{NAME}: {what} is not supported here: {instead}")


def _environment(given: list[Object], environment: Mapping[str, str]) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    """Return `env` and `envFrom` of the container."""
    env: list[Object] = []
    env_from: list[Object] = []
    for number, each in enumerate(given):
        name, value = each.get("name"), str(each.get("value") if each.get("value") is not None else "")
        match = _FORM.fullmatch(value.strip())
        if match is None and "{{" in value:
            raise InvalidInput(
                f"{NAME}: run.envs[{number}].value {value!r} is none of {{{{ env:X }}}}, {{{{ secret:name:key }}}}, "
                "{{ configMap:name:key }}, and without a name {{ secret:name }}, {{ configMap:name }}"
            )
        kind = match[1] if match else ""
        if name and match is None:
            env.append({"name": name, "value": value.replace("$", "$$")})
        elif name and kind == "env":
            env.append({"name": name, "value": _local(value, environment).replace("$", "$$")})
        elif name and match and match[3]:
            env.append({"name": name, "valueFrom": {_SOURCES[kind][0]: {"name": match[2], "key": match[3]}}})
        elif not name and match and kind in _SOURCES and not match[3]:
            env_from.append({_SOURCES[kind][1]: {"name": match[2]}})
        else:
            raise InvalidInput(
                f"{NAME}: run.envs[{number}]: a value of all keys has no name, every other value has one"
            )
    return tuple(env), tuple(env_from)


def _local(value: str, environment: Mapping[str, str]) -> str:
    """Fill in a value of the environment that deploys."""
    match = _FORM.fullmatch(value.strip())
    if match is None or match[1] != "env":
        return value
    if match[2] not in environment:
        raise InvalidInput(f"{NAME}: {value!r}: the environment variable {match[2]} is not set")
    return environment[match[2]]


def _volumes(given: list[Object]) -> tuple[tuple[Object, ...], tuple[Object, ...]]:
    volumes, mounts = [], []
    for number, each in enumerate(given):
        name, path = f"volume-{number}", each.get("path")
        kinds = [kind for kind in ("secret", "configMap", "persistentVolumeClaim", "emptyDir") if kind in each]
        if len(kinds) != 1 or not path:
            raise InvalidInput(
                f"{NAME}: run.volumes[{number}] needs a path and one of secret, configMap, persistentVolumeClaim, "
                "emptyDir"
            )
        kind = kinds[0]
        source: Any = each[kind]
        if kind == "secret":
            source = {"secretName": source}
        elif kind == "configMap":
            source = {"name": source}
        volumes.append({"name": name, kind: source or {}})
        mounts.append(
            {"name": name, "mountPath": path, **({"readOnly": True} if kind in ("secret", "configMap") else {})}
        )
    return tuple(volumes), tuple(mounts)


def _labels(given: list[Object], environment: Mapping[str, str]) -> dict[str, str]:
    return {each["key"]: _local(str(each.get("value") or ""), environment) for each in given}


def _scale(key: str) -> str:
    if key not in _SCALE:
        raise InvalidInput(f"{NAME}: deploy.options.scale.{key} is no field; there are: {', '.join(_SCALE)}")
    return f"autoscaling.knative.dev/{_SCALE[key]}"


def _number(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _subscriptions(given: list[Object]) -> list[Object]:
    for number, each in enumerate(given):
        if not each.get("source"):
            raise InvalidInput(f"{NAME}: deploy.subscriptions[{number}].source must name a Broker")
    return given
