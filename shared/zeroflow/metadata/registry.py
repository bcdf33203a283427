"""The model registry's tables: its entities, their properties, and the lineage edges.

Three tables hold all entities, as in ML Metadata, so that ids come from one sequence per table as official clients
expect: `registry_contexts` (registered models, versions, serving environments, inference services, experiments,
experiment runs), `registry_artifacts` (model, doc, dataset, metric, parameter) and `registry_executions` (serve
models). A row carries its typed fields and custom properties as documents, so that a list is one query; the property
tables index the scalar custom properties for search. `registry_metric_points` is a run's metrics over time.

Every write first ticks `registry_clock`, whose row lock is the registry's write lock: write times are strictly
increasing, and since an id is taken after the tick, ids and creation times have the same order.
"""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

from zeroflow.metadata.base import Base, Sequence, now_ms

NO_PARENT = 0
"""The `parent_id` of a context without a parent: unlike NULL, it takes part in the unique constraint."""

SCHEME = "model-registry://"
"""Begins the location `model-registry://MODEL[/VERSION]`: where a version has its bytes, the newest without VERSION."""

STRING_START = 128
"""How many characters of a string property are indexed."""


def named(location: str) -> tuple[str, str | None] | None:
    """Return the model and the version that a location of this scheme names; None for another or a malformed one."""
    if not location.startswith(SCHEME):
        return None
    model, _, version = location.removeprefix(SCHEME).strip("/").partition("/")
    return (model, version or None) if model and "/" not in version else None


class RegistryEntity:
    """What contexts and artifacts have in common."""

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str]
    """As zeroflow.functions.register.entities names it; an artifact's is the wire's artifactType."""
    name: Mapped[str]
    external_id: Mapped[str | None] = mapped_column(unique=True)
    description: Mapped[str | None]
    state: Mapped[str | None]
    fields: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The kind's own fields by their wire names."""
    custom_properties: Mapped[dict[str, Any]] = mapped_column(default=dict)
    """The user's properties in wire form: {name: {metadataType, <type>_value}}."""
    created_ms: Mapped[int] = mapped_column(BigInteger)
    updated_ms: Mapped[int] = mapped_column(BigInteger)


class RegistryContext(RegistryEntity, Base):
    """A registered model, model version, serving environment, inference service, experiment or experiment run."""

    __tablename__ = "registry_contexts"
    __table_args__ = (
        UniqueConstraint("kind", "parent_id", "name"),
        Index("ix_registry_contexts_kind", "kind", "id"),
        Index("ix_registry_contexts_updated", "kind", "updated_ms", "id"),
        Index("ix_registry_contexts_children", "kind", "parent_id", "id"),
        Index("ix_registry_contexts_children_updated", "kind", "parent_id", "updated_ms", "id"),
    )

    parent_id: Mapped[int] = mapped_column(BigInteger, default=NO_PARENT)
    """The model of a version, the environment of an inference service, the experiment of a run; else NO_PARENT."""
    latest_number: Mapped[int] = mapped_column(BigInteger, default=0)
    """Of a registered model: the highest version name that is a number."""


class RegistryArtifact(RegistryEntity, Base):
    """An artifact, under a version, under an experiment run, or free."""

    __tablename__ = "registry_artifacts"
    __table_args__ = (
        UniqueConstraint("kind", "parent_id", "name"),
        Index("ix_registry_artifacts_kind", "kind", "id"),
        Index("ix_registry_artifacts_updated", "kind", "updated_ms", "id"),
        Index("ix_registry_artifacts_children", "parent_id", "id"),
        Index("ix_registry_artifacts_uri", "uri"),
    )

    parent_id: Mapped[int | None] = mapped_column(ForeignKey("registry_contexts.id"))
    """The version or run; NULL for a free artifact, whose name need not be unique."""
    uri: Mapped[str | None]


class RegistryExecution(RegistryEntity, Base):
    """A serve model: one deployment of a version by an inference service."""

    __tablename__ = "registry_executions"
    __table_args__ = (
        UniqueConstraint("kind", "parent_id", "name"),
        Index("ix_registry_executions_children", "parent_id", "id"),
        Index("ix_registry_executions_updated", "kind", "updated_ms", "id"),
    )

    parent_id: Mapped[int] = mapped_column(ForeignKey("registry_contexts.id"))
    """The inference service."""


class RegistryMetricPoint(RegistryEntity, Base):
    """One value that a metric of an experiment run has had; never changed."""

    __tablename__ = "registry_metric_points"
    __table_args__ = (
        Index("ix_registry_metric_points_run", "parent_id", "name", "id"),
        Index("ix_registry_metric_points_updated", "updated_ms", "id"),
    )

    parent_id: Mapped[int] = mapped_column(ForeignKey("registry_contexts.id"))
    """The run."""
    step: Mapped[int | None] = mapped_column(BigInteger)


class RegistryProperty:
    """A scalar custom property as search sees it; exactly one of the values is set."""

    name: Mapped[str] = mapped_column(primary_key=True)
    string_start: Mapped[str | None]
    """The first STRING_START characters of the string, short enough for an index."""
    string_value: Mapped[str | None]
    int_value: Mapped[int | None] = mapped_column(BigInteger)
    double_value: Mapped[float | None]
    bool_value: Mapped[bool | None]

    @declared_attr.directive
    @classmethod
    def __table_args__(cls) -> tuple[Index, ...]:
        table = cls.__tablename__  # type: ignore[attr-defined]  # every subclass is a mapped class
        return tuple(
            Index(
                f"ix_{table}_{column}",
                "name",
                column,
                "owner_id",  # so that whose they are is found in the index alone, and in order
                sqlite_where=text(f"{column} IS NOT NULL"),
                postgresql_where=text(f"{column} IS NOT NULL"),
            )
            for column in ("string_start", "int_value", "double_value")
        )


class RegistryContextProperty(RegistryProperty, Base):
    """A property of a registered model or version."""

    __tablename__ = "registry_context_properties"

    owner_id: Mapped[int] = mapped_column(ForeignKey("registry_contexts.id"), primary_key=True, sort_order=-1)


class RegistryArtifactProperty(RegistryProperty, Base):
    """A property of an artifact."""

    __tablename__ = "registry_artifact_properties"

    owner_id: Mapped[int] = mapped_column(ForeignKey("registry_artifacts.id"), primary_key=True, sort_order=-1)


class RegistryExecutionProperty(RegistryProperty, Base):
    """A property of a serve model."""

    __tablename__ = "registry_execution_properties"

    owner_id: Mapped[int] = mapped_column(ForeignKey("registry_executions.id"), primary_key=True, sort_order=-1)


class RegistryClock(Base):
    """One row: the time of the registry's last write."""

    __tablename__ = "registry_clock"
    __table_args__ = (CheckConstraint("id = 1", name="single_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    last_ms: Mapped[int] = mapped_column(BigInteger)


class GovernedVersion(Base):
    """A model version whose approval the server keeps; a version that is not here has none, whatever it claims."""

    __tablename__ = "registry_governed_versions"

    version_id: Mapped[int] = mapped_column(ForeignKey("registry_contexts.id"), primary_key=True, autoincrement=False)
    since_ms: Mapped[int] = mapped_column(BigInteger)


class LineageEdge(Base):
    """One typed edge of the lineage graph, from what was there first to what came of it; never changed.

    Node types and ids: `run` <run id>, `task` <run id>/<task name>, `experiment` and `trial` <namespace>/<name>,
    `training_job` <namespace>/<kind>/<name>/<uid>, `artifact` <zeroflow.metadata.artifacts id>, `model_version`
    <registry id>, `revision` and `inference_service` <namespace>/<name> of the resource, `drift_event` <event id>.
    """

    __tablename__ = "lineage_edges"
    __table_args__ = (
        UniqueConstraint("kind", "from_type", "from_id", "to_type", "to_id"),
        Index("ix_lineage_edges_from", "from_type", "from_id"),
        Index("ix_lineage_edges_to", "to_type", "to_id"),
    )

    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    kind: Mapped[str]
    """contains (run > task, experiment > trial), tried (experiment > trial), read (artifact > task, trial or job),
    wrote (those > artifact), registered_as and trained_on (artifact > version), deployed_as (version > revision or
    inference service), serves (revision > inference service), reproduced (version > run), drifted (revision or
    inference service > drift event)."""
    from_type: Mapped[str]
    from_id: Mapped[str]
    to_type: Mapped[str]
    to_id: Mapped[str]
    actor: Mapped[str]
    """Who said so: the function's event source, or the client."""
    cause_source: Mapped[str | None]
    cause_id: Mapped[str | None]
    """The CloudEvent that told of it."""
    time_ms: Mapped[int] = mapped_column(BigInteger, default=now_ms)
