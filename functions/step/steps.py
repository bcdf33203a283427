"""What all attempts share: fork servers, environments, stores, and the folders in which they work."""

import queue
import shutil
import threading
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from zeroflow.artifacts import Stores
from zeroflow.functions.step import environ
from zeroflow.functions.step.environments import Environments
from zeroflow.functions.step.forks import Forks
from zeroflow.functions.step.jobs import Jobs, is_ours
from zeroflow.functions.step.placement import Placement
from zeroflow.functions.step.request import Attempt
from zeroflow.functions.step.settings import StepSettings
from zeroflow.functions.step.workspace import Workspace, recycled, remove_abandoned, spares
from zeroflow.images import INSIDE, Images
from zeroflow.resources.client import LazyResources

SPARE_FOLDERS = 16


class Steps:
    """Everything that attempts share."""

    def __init__(
        self, settings: StepSettings, stores: Stores, environment: Mapping[str, str], *, inside_job: bool = False
    ) -> None:
        self.settings, self.stores, self.inside_job = settings, stores, inside_job
        self.images = Images.from_environment(environment)
        self.resources = LazyResources("zeroflow-step")
        self.placement, self.jobs = (
            Placement(settings),
            Jobs(self.resources, stores, environment, settings),
        )
        inside = bool(environment.get(INSIDE))
        self.passed = environ.inside_image(environment, is_ours) if inside else environ.passed_on(environment)
        self.environments = Environments(settings.environments, environ.for_installer(environment), settings.installer)
        self.has_kfp = find_spec("kfp") is not None
        ours = {name: value for name, value in self.passed.items() if not (inside and name.startswith("PYTHON"))}
        self.forks = Forks(ours, settings.preload)
        self._discarded: queue.SimpleQueue[Path] = queue.SimpleQueue()
        self._spare = deque([] if inside_job else spares(settings.directory)[:SPARE_FOLDERS])
        self._remover: threading.Thread | None = None
        remove_abandoned(settings.directory)

    def workspace(self, attempt: Attempt) -> Workspace:
        """Return the attempt's folder."""
        return Workspace(self.settings.directory / attempt.key, self._spare)

    def discard(self, workspace: Workspace) -> None:
        """Take an attempt's folder away; its files are removed after the answer, since there may be many."""
        self._discarded.put(workspace.discard())
        if self._remover is None or not self._remover.is_alive():
            self._remover = threading.Thread(target=self._remove_discarded, name="remover", daemon=True)
            self._remover.start()

    def _remove_discarded(self) -> None:
        while True:
            folder = self._discarded.get()
            with suppress(OSError):
                if len(self._spare) < SPARE_FOLDERS and (spare := recycled(folder)):
                    self._spare.append(spare)
                    continue
            shutil.rmtree(folder, ignore_errors=True)

    def close(self) -> None:
        """End every step."""
        self.forks.close()
