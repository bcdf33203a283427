"""Forks: a new run that takes over from an earlier one what has not changed.

A step whose code, image, parameters and inputs' content are those of the same step of the earlier run takes its
outputs, whether or not it is cached. From a named step on - it, what is below it, and all that depends on it -
everything runs again.
"""

from functools import cached_property

from zeroflow.functions.pipeline.plan import Plan


class Fork:
    """Which steps of a forked run must run again."""

    def __init__(self, plan: Plan, point: str | None) -> None:
        self._plan, self._point = plan, point or ""

    def again(self, path: str) -> bool:
        """Say whether a task is the one from which the run was forked, below it, or depends on it."""
        if not self._point:
            return False
        if path == self._point or path.startswith(f"{self._point}."):
            return True
        return any(path == start or path.startswith(f"{start}.") for start in self._following)

    @cached_property
    def _following(self) -> frozenset[str]:
        """The paths of tasks that depend on the point, or on a task around it."""
        found: set[str] = set()
        scope, prefix, names = self._plan.root.scope, "", iter(self._point.split("."))
        for name in names:
            if scope is None or name not in scope.tasks:
                break
            queue = [name]
            while queue:
                for dependent in scope.tasks[queue.pop()].dependents:
                    if prefix + dependent not in found:
                        found.add(prefix + dependent)
                        queue.append(dependent)
            task = scope.tasks[name]
            prefix += f"{name}."
            if task.iterator is not None:  # the number of an iteration follows; no iteration depends on another
                prefix += f"{next(names, '')}."
            scope = task.component.scope
        return frozenset(found)
