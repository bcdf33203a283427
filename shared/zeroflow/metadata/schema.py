"""All tables: importing this module fills `Base.metadata`, which migrations and tests need whole."""

from zeroflow.metadata import artifacts, audit, events, pipelines, registry, rollouts, tuning, uses
from zeroflow.metadata.base import Base

__all__ = ["Base", "artifacts", "audit", "events", "pipelines", "registry", "rollouts", "tuning", "uses"]
