"""What a step asks of the pod that it would run in: kfp-kubernetes' settings, resources, the run's workspace.

A component that passes its configuration on (TaskConfig) gets what it names as an input; of that, only what it says so
is applied to its own pod as well. Source: TaskConfigPassthrough of KFP's pipeline_spec.proto; TaskConfig of the SDK.
"""

from collections.abc import Callable, Mapping
from typing import Any

from zeroflow.functions.pipeline import platform, volumes
from zeroflow.functions.pipeline import resources as quantities
from zeroflow.functions.pipeline.plan import Component, Platform, Source, TaskPlan

WORKSPACE_PATH = "/kfp-workspace"
WORKSPACE = "workspace-"
_OWN = {"RESOURCES": ("resources",), "KUBERNETES_VOLUMES": ("volumes", "mounts")}
"""Settings of the step's own pod, which a component may be handed instead."""


def workspace_claim(run_id: str) -> str:
    """Return the name of the claim that the tasks of a run share."""
    return f"{WORKSPACE}{run_id}"


def asked(
    task: TaskPlan, parameters: Mapping[str, Any], follow: Callable[[Source], Any], context: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Return what the step's pod is given, and the TaskConfig that the component is handed; None when it takes none."""
    component = task.component
    settings = platform.resolved(component.platform or Platform(), follow)
    if limits := quantities.filled(component.resources, parameters.get, context):
        settings["resources"] = limits
    if task.workspace and _mentions([*parameters.values(), *_words(component)]):
        shared = volumes.workspace(workspace_claim(context["run_id"]), WORKSPACE_PATH)
        of_pod, mounts = volumes.resolved((shared,), follow)
        settings["volumes"] = [*settings.get("volumes", ()), *of_pod]
        settings["mounts"] = [*settings.get("mounts", ()), *mounts]
        settings["workspace"] = task.workspace
    taken = next((name for name, spec in component.parameters.items() if spec.type == "TASK_CONFIG"), None)
    if taken is None:
        return settings, None
    return _divided(component, settings)


def _divided(component: Component, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Hand on what the component asks for, and keep from its own pod what is not to be applied there too."""
    pod = settings.get("pod", {})
    env = [*((component.container or {}).get("env") or ()), *_from_resources(settings)]
    fields: dict[str, dict[str, Any]] = {
        "RESOURCES": {"resources": settings.get("resources")},
        "ENV": {"env": env},
        "KUBERNETES_AFFINITY": {"affinity": pod.get("affinity")},
        "KUBERNETES_TOLERATIONS": {"tolerations": pod.get("tolerations")},
        "KUBERNETES_NODE_SELECTOR": {"nodeSelector": pod.get("nodeSelector")},
        "KUBERNETES_VOLUMES": {"volumes": settings.get("volumes"), "volumeMounts": settings.get("mounts")},
    }
    config: dict[str, Any] = {}
    kept, own = dict(settings), dict(pod)
    for field, also_own in component.passthroughs:
        config.update({name: value for name, value in fields.get(field, {}).items() if value})
        if also_own:
            continue
        for name in _OWN.get(field, ()):
            kept.pop(name, None)
        for name in fields.get(field, {}):
            own.pop(name, None)
        if field == "ENV":
            kept.pop("environment", None)
            kept["no_env"] = True
    kept["pod"] = own
    return {name: value for name, value in kept.items() if value}, config


def _from_resources(settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": variable,
            "valueFrom": {
                f"{item['kind'][0].lower()}{item['kind'][1:]}KeyRef": {
                    "name": item["name"],
                    "key": key,
                    **({"optional": True} if item["optional"] else {}),
                }
            },
        }
        for item in settings.get("environment", ())
        for variable, key in item["keys"].items()
    ]


def _words(component: Component) -> list[Any]:
    container = component.container or {}
    return [*(container.get("command") or ()), *(container.get("args") or ())]


def _mentions(values: list[Any]) -> bool:
    """Say whether a step is told of the workspace: only such a one needs it."""
    return any(
        (WORKSPACE_PATH in value or "{{$.workspace_path}}" in value)
        if isinstance(value, str)
        else _mentions(list(value.values()) if isinstance(value, dict) else value)
        if isinstance(value, dict | list)
        else False
        for value in values
    )
