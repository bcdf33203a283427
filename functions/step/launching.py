"""Which process a step is: a Python component, or a command; with which interpreter, environment and limits."""

import os
import sys
import time
from typing import Any

from zeroflow.functions.step import command, environ, inputs, platform
from zeroflow.functions.step.errors import PackagesNotInstalled, Unsupported
from zeroflow.functions.step.forks import Child
from zeroflow.functions.step.jobs import OWN
from zeroflow.functions.step.limits import Limits
from zeroflow.functions.step.log import Log
from zeroflow.functions.step.placeholders import Placeholders
from zeroflow.functions.step.request import Task
from zeroflow.functions.step.steps import Steps
from zeroflow.functions.step.workspace import Workspace, boot_id
from zeroflow.images import Inside


class Launch:
    """One process to be started; raises what the task asks for in vain."""

    def __init__(self, steps: Steps, workspace: Workspace, task: Task, log: Log) -> None:
        self._steps, self._workspace, self._task, self._log = steps, workspace, task, log
        self._component = command.recognise(task.executor)
        if not steps.has_kfp:
            raise PackagesNotInstalled("steps need kfp, which is not installed here: pip install 'zeroflow[step]'")
        self._image = str(task.executor.get("image") or "none")
        self._mapped = steps.images.of(self._image)
        self._own = {} if task.platform.get("no_env") else environ.of_container(task.executor)
        if task.platform:
            self._own |= self._from_cluster()
        self._limits = Limits.of(task.platform)
        self._python = str(self._mapped.python) if self._mapped and self._mapped.python else None

    def _from_cluster(self) -> dict[str, str]:
        """Return the variables that come from Secrets, ConfigMaps and the pod; in a Job they are there already."""
        task = self._task
        if not self._steps.inside_job:
            return platform.variables(task.platform, task.namespace, task.context, self._steps.resources)
        given = {name: os.environ.get(f"{OWN}{name}") for name in platform.references(task.platform)}
        return {name: value for name, value in given.items() if value is not None}

    def install(self, deadline: float) -> None:
        """Find or make the environment for the component's packages; `deadline` is on the monotonic clock."""
        component = self._component
        if isinstance(component, command.LightweightComponent) and component.installs:
            left_s = min(deadline - time.monotonic(), INSTALL_LIMIT_S)
            environments = self._steps.environments
            self._python = environments.python_for(component.installs, self._log.path, left_s, self._python)

    def fork(self, executor_input: dict[str, Any]) -> Child:
        """Start the process in the attempt's folder, which is prepared."""
        if isinstance(self._component, command.ContainerComponent):
            return self._fork_command(self._component, executor_input)
        return self._fork_python(self._component, executor_input)

    def _fork_command(self, component: command.ContainerComponent, executor_input: dict[str, Any]) -> Child:
        mapped, workspace = self._mapped, self._workspace
        words = [*(component.command or (mapped.command if mapped else ())), *component.args]
        if not component.command and not (mapped and mapped.command):
            raise Unsupported(
                f"what image {component.image} starts by itself is not known here; say what stands for it:"
                f" zeroflow images map {component.image} DIRECTORY -- COMMAND"
            )
        filled = Placeholders(executor_input, self._task.context, lambda uri: inputs.place(uri, workspace))
        argv = filled.words(words)
        if not isinstance(mapped, Inside):
            where = f"in {mapped.directory}, which stands for" if mapped else "on this machine, not in"
            self._log.note(f"runs as a process {where} {component.image}")
        workspace.parameters.mkdir(exist_ok=True)  # a component of Python makes it by itself
        env = environ.for_command(self._steps.passed, self._own, mapped)
        return self._steps.forks.fork(workspace.path, self._step(executor_input, argv=argv, env=env))

    def _fork_python(self, component: command.LightweightComponent, executor_input: dict[str, Any]) -> Child:
        steps, mapped, python = self._steps, self._mapped, self._python
        if isinstance(mapped, Inside) and python is None:
            raise Unsupported(f"image {self._image} has no python3, which a component of Python needs")
        if not component.source and mapped is None:
            raise Unsupported(
                f"the component's code is in image {self._image} alone; say what stands for it:"
                f" zeroflow images map {self._image} DIRECTORY"
            )
        if python is None and (mapped or any(name.startswith("PYTHON") for name in self._own)):
            python = sys.executable  # what the interpreter reads at its start must be there before it starts
        source = self._workspace.source
        if component.source:
            source.write_bytes(component.source.encode())
        if mapped and not isinstance(mapped, Inside):
            self._log.note(f"runs in {mapped.directory}, which stands for {self._image}")
        env = environ.for_step(steps.passed, self._own, isolated=python not in (None, sys.executable), mapped=mapped)
        if mapped and mapped.python and not component.installs:
            shown = (steps.environments.kfp(), env.get("PYTHONPATH"))
            env["PYTHONPATH"] = os.pathsep.join(found for found in shown if found)
        named = {"source": str(source) if component.source else None, "function": component.function}
        step = self._step(executor_input, **named, env=env)
        # With variables of its own nothing is loaded ahead: libraries read some when they are loaded.
        imports = steps.forks.imports(component.source) if python is None and not self._own else frozenset[str]()
        return steps.forks.fork(self._workspace.path, step, python=python, imports=imports)

    def _step(self, executor_input: dict[str, Any], **step: Any) -> dict[str, Any]:
        """Return what the process is told to do."""
        workspace = self._workspace
        inputs.make_room(executor_input, workspace)
        directory = self._mapped.working_directory if self._mapped else None
        return {
            "executor_input": executor_input,
            "mounts": {scheme: str(path) for scheme, path in workspace.mounts.items()},
            "log": str(self._log.path),
            "cwd": str(directory or workspace.work),
            "limits": self._limits.as_json(),
            "boot": boot_id(),
            **step,
        }


INSTALL_LIMIT_S = 3600.0
"""How long packages may take to install where no request ends."""
