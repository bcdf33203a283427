"""What can run here: a pipeline that asks for more is refused when it is submitted, and not when its turn comes.

Without a container engine steps run in the platform's environment, and not in the image that a component names: an
image is what `zeroflow images map` says, and a component whose command or code is in its image alone cannot run
without. On a cluster its code may be there (ZEROFLOW_OWN_IMAGES), but what an image starts by itself is known only to
who starts it. Accelerators are those of the nodes.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zeroflow.errors import InvalidInput, ZeroflowError
from zeroflow.functions.pipeline import placeholders
from zeroflow.functions.pipeline import resources as quantities
from zeroflow.functions.pipeline.executors import needs_image
from zeroflow.functions.pipeline.plan import Component, Constant, FromScope, Plan, Scope, TaskPlan
from zeroflow.images import OWN_IMAGES, Images
from zeroflow.resources.client import LazyResources, Resources


class Capabilities:
    """Knows the images and nodes of this installation; looks at neither unless a pipeline asks for them."""

    def __init__(self, images: Images, resources: Callable[[], Resources], *, own_images: bool = False) -> None:
        self._images, self._resources, self._own_images = images, resources, own_images

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] | None = None, resources: Callable[[], Resources] | None = None
    ) -> "Capabilities":
        """Find the images that are mapped on this machine."""
        env = os.environ if environment is None else environment
        own = env.get(OWN_IMAGES) == "true"
        return cls(Images.from_environment(env), resources or LazyResources("zeroflow-pipeline"), own_images=own)

    def check(self, plan: Plan, parameters: Mapping[str, Any]) -> None:
        """Raise InvalidInput for the first task that cannot run here, with the reason and what would help."""
        nodes: list[Mapping[str, Any]] | None = None
        for task, scope_values in _steps(plan.root.scope, parameters, set()):
            self._check_image(task)
            asked = quantities.devices(_filled(task, scope_values))
            if asked:
                nodes = self._nodes() if nodes is None else nodes
                _check_devices(task, asked, nodes)

    def _check_image(self, task: TaskPlan) -> None:
        container = task.component.container
        if container is None or task.component.claim:
            return
        missing, image = needs_image(container), str(container.get("image") or "")
        if not missing or (self._own_images and "command" not in missing):
            return
        mapped = self._images.of(image)
        if mapped is None or ("command" in missing and not mapped.command):
            raise InvalidInput(
                f"task {task.name}: {missing} is in image {image!r} alone, and no container runs here; say what stands"
                f" for it: zeroflow images map {image} DIRECTORY{' -- COMMAND' if 'command' in missing else ''}"
            )

    def _nodes(self) -> list[Mapping[str, Any]]:
        try:
            return [
                (node.get("status") or {}).get("allocatable") or {} for node in self._resources().list("v1", "Node")
            ]
        except ZeroflowError as error:
            raise InvalidInput(
                f"the pipeline needs accelerators, and the nodes cannot be looked at: {error}"
            ) from error


def _check_devices(task: TaskPlan, asked: Mapping[str, int], nodes: list[Mapping[str, Any]]) -> None:
    for name, count in asked.items():
        most = max((int(node.get(name) or 0) for node in nodes), default=0)
        if count > most:
            there = f"the most that a node here has is {most}" if most else "no node here has one"
            raise InvalidInput(f"task {task.name} needs {count} {name} (set_accelerator_limit), and {there}")


def _steps(
    scope: Scope | None, values: Mapping[str, Any] | None, seen: set[int]
) -> Iterator[tuple[TaskPlan, Mapping[str, Any] | None]]:
    """Yield every step with what is known of the parameters around it: the run's, at the top alone."""
    for task in scope.tasks.values() if scope else ():
        component: Component = task.component
        if component.scope is None:
            yield task, values
        elif id(component) not in seen:
            seen.add(id(component))
            yield from _steps(component.scope, None, seen)


def _filled(task: TaskPlan, values: Mapping[str, Any] | None) -> quantities.Resources:
    """Return the resources with those placeholders filled whose values are known before anything has run."""
    known: dict[str, Any] = {}
    for name, source in task.parameters.items():
        if isinstance(source, FromScope) and values is not None:
            known[name] = values.get(source.name)
        elif isinstance(source, Constant) and not any(placeholders.expressions(source.value)):
            known[name] = source.value
    wanted = [placeholders.parameter_of(found) for found in placeholders.expressions(dict(task.component.resources))]
    if any(name is None or name not in known for name in wanted):
        return {}
    return quantities.filled(task.component.resources, known.get, {})
