"""What the step function reads from its environment beyond what every function reads."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from zeroflow.errors import InvalidInput
from zeroflow.images import OWN_IMAGES
from zeroflow.settings import Settings

PRELOAD = ("numpy", "pandas", "pyarrow", "scipy", "sklearn")
"""Libraries whose import takes longer than a trivial step runs, and is safe before a fork (tests/step)."""


@dataclass(frozen=True)
class StepSettings:
    """Where steps work, how long they may, and what is loaded for them."""

    directory: Path
    """`<ZEROFLOW_SCRATCH>/steps`: one folder per attempt while it runs."""
    environments: Path
    """`<ZEROFLOW_HOME>/environments`, or below the scratch directory: one per set of packages_to_install."""
    preload: tuple[str, ...] = PRELOAD
    """ZEROFLOW_STEP_PRELOAD: comma-separated packages. One is loaded ahead of the forks once a step has imported it;
    an empty value loads none."""
    installer: str = "uv"
    """ZEROFLOW_STEP_INSTALLER: `uv` (pip where there is none) or `pip`."""
    time_limit_s: float = 570.0
    """ZEROFLOW_STEP_TIME_LIMIT_S: the longest that a step may take inside a request, which Knative ends after 600 s."""

    image: str = "zeroflow/step"
    """ZEROFLOW_STEP_IMAGE: the platform's image of steps, in which one runs that is a Job."""
    own_images: bool = False
    """ZEROFLOW_OWN_IMAGES=true: a component runs in its own image, in a Job. For a cluster: this host has no images."""
    jobs: int = 8
    """ZEROFLOW_STEP_JOBS: how many steps that are Jobs may run side by side; 0 leaves that to the cluster."""

    @classmethod
    def from_environment(cls, settings: Settings, environment: Mapping[str, str] | None = None) -> "StepSettings":
        """Build the settings; a malformed variable raises InvalidInput naming it."""
        env = os.environ if environment is None else environment
        preload = tuple(name.strip() for name in env.get("ZEROFLOW_STEP_PRELOAD", ",".join(PRELOAD)).split(","))
        wrong = [name for name in preload if name and not name.isidentifier()]
        if wrong:
            raise InvalidInput(f"ZEROFLOW_STEP_PRELOAD must be comma-separated package names, got {wrong[0]!r}")
        limit = env.get("ZEROFLOW_STEP_TIME_LIMIT_S", "570")
        try:
            time_limit_s = float(limit)
        except ValueError:
            time_limit_s = 0.0
        if not 0 < time_limit_s < float("inf"):
            raise InvalidInput(f"ZEROFLOW_STEP_TIME_LIMIT_S must be a number of seconds above 0, got {limit!r}")
        installer = env.get("ZEROFLOW_STEP_INSTALLER", "uv")
        if installer not in ("uv", "pip"):
            raise InvalidInput(f"ZEROFLOW_STEP_INSTALLER must be uv or pip, got {installer!r}")
        jobs = env.get("ZEROFLOW_STEP_JOBS", "8")
        if not jobs.isdigit():
            raise InvalidInput(f"ZEROFLOW_STEP_JOBS must be a whole number, 0 for any number, got {jobs!r}")
        home = env.get("ZEROFLOW_HOME")
        return cls(
            directory=settings.scratch.absolute() / "steps",
            environments=(Path(home) if home else settings.scratch).absolute() / "environments",
            preload=tuple(name for name in preload if name),
            installer=installer,
            time_limit_s=time_limit_s,
            image=env.get("ZEROFLOW_STEP_IMAGE") or "zeroflow/step",
            jobs=int(jobs),
            own_images=env.get(OWN_IMAGES) == "true",
        )
