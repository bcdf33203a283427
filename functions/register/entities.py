"""The registry's kinds of entities and their fields, as the OpenAPI documents name them.

Everything that differs between a registered model, a version and the artifact types is said here, once; reading bodies,
storing, listing and filtering are the same code for all. Source: Model Registry OpenAPI v1alpha3 and v1 (the two differ
in one field here: a metric's `step` is an integer in the first and a string in the second).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from zeroflow.metadata.registry import (
    RegistryArtifact,
    RegistryArtifactProperty,
    RegistryContext,
    RegistryContextProperty,
    RegistryExecution,
    RegistryExecutionProperty,
    RegistryMetricPoint,
)

Table = type[RegistryContext] | type[RegistryArtifact] | type[RegistryExecution] | type[RegistryMetricPoint]
PropertyTable = type[RegistryContextProperty] | type[RegistryArtifactProperty] | type[RegistryExecutionProperty]

_PROPERTIES: Mapping[Table, PropertyTable] = {
    RegistryContext: RegistryContextProperty,
    RegistryArtifact: RegistryArtifactProperty,
    RegistryExecution: RegistryExecutionProperty,
}


class Shape(Enum):
    """What a field's JSON value must be."""

    TEXT = "a string"
    TEXTS = "an array of strings"
    URI = "a URI with its scheme, or an empty string"
    NUMBER = "a number"
    INTEGER = "an integer"
    ID = "the decimal id of an entity, as a string"
    TIME = "milliseconds since 1970 as a string of digits"


AS_TEXT = (Shape.ID, Shape.TIME)
"""Kept as a number, written as a string."""


@dataclass(frozen=True)
class Field:
    """One typed field. `fixed`: given at creation and ignored afterwards. `searchable`: known to filterQuery."""

    name: str
    shape: Shape = Shape.TEXT
    choices: tuple[str, ...] = ()
    default: str | None = None
    required: bool = False
    fixed: bool = False
    searchable: bool = True
    refers_to: str = ""
    """The kind of the entity whose id this is; it must exist."""


@dataclass(frozen=True)
class EntityType:
    """One kind of entity. `artifact_type`: what the wire calls an artifact of this kind; "" for anything else."""

    kind: str
    title: str
    table: Table
    fields: tuple[Field, ...]
    parent_field: str | None = None
    """The wire field that holds the parent's id, where the wire has one."""
    has_parent: bool = False
    artifact_type: str = ""

    @property
    def is_artifact(self) -> bool:
        """Whether the wire shows it as an artifact."""
        return bool(self.artifact_type)

    @property
    def properties(self) -> PropertyTable | None:
        """The table that indexes its custom properties, if any does."""
        return _PROPERTIES.get(self.table)

    def field(self, name: str) -> Field | None:
        """Return the typed field of this wire name."""
        return next((field for field in self.fields if field.name == name), None)


LIFE = ("LIVE", "ARCHIVED")
ARTIFACT_STATES = ("UNKNOWN", "PENDING", "LIVE", "MARKED_FOR_DELETION", "DELETED", "ABANDONED", "REFERENCE")

_NAME = Field("name", required=True, fixed=True)
_ARTIFACT = (
    Field("name", fixed=True),
    Field("uri"),
    Field("state", choices=ARTIFACT_STATES, default="UNKNOWN"),
)

REGISTERED_MODEL = EntityType(
    "registered_model",
    "registered model",
    RegistryContext,
    (
        _NAME,
        Field("state", choices=LIFE, default="LIVE"),
        Field("owner"),
        *(Field(name, searchable=False) for name in ("readme", "maturity", "provider", "license", "libraryName")),
        Field("logo", Shape.URI, searchable=False),
        Field("licenseLink", Shape.URI, searchable=False),
        Field("language", Shape.TEXTS, searchable=False),
        Field("tasks", Shape.TEXTS, searchable=False),
    ),
)

MODEL_VERSION = EntityType(
    "model_version",
    "model version",
    RegistryContext,
    (
        _NAME,
        Field("registeredModelId", Shape.ID, required=True, fixed=True, refers_to="registered_model"),
        Field("state", choices=LIFE, default="LIVE"),
        Field("author"),
    ),
    parent_field="registeredModelId",
    has_parent=True,
)

SERVING_ENVIRONMENT = EntityType("serving_environment", "serving environment", RegistryContext, (_NAME,))

INFERENCE_SERVICE = EntityType(
    "inference_service",
    "inference service",
    RegistryContext,
    (
        Field("name", fixed=True),
        Field("registeredModelId", Shape.ID, required=True, fixed=True, refers_to="registered_model"),
        Field("servingEnvironmentId", Shape.ID, required=True, fixed=True, refers_to="serving_environment"),
        Field("modelVersionId", Shape.ID, refers_to="model_version"),
        Field("runtime"),
        Field("desiredState", choices=("DEPLOYED", "UNDEPLOYED"), default="DEPLOYED"),
    ),
    parent_field="servingEnvironmentId",
    has_parent=True,
)

SERVE_MODEL = EntityType(
    "serve_model",
    "serve model",
    RegistryExecution,
    (
        Field("name", fixed=True),
        Field("modelVersionId", Shape.ID, required=True, fixed=True, refers_to="model_version"),
        Field(
            "lastKnownState",
            choices=("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED"),
            default="UNKNOWN",
        ),
    ),
    has_parent=True,
)

EXPERIMENT = EntityType(
    "experiment",
    "experiment",
    RegistryContext,
    (_NAME, Field("state", choices=LIFE, default="LIVE"), Field("owner")),
)

EXPERIMENT_RUN = EntityType(
    "experiment_run",
    "experiment run",
    RegistryContext,
    (
        Field("name", fixed=True),
        Field("experimentId", Shape.ID, required=True, fixed=True, refers_to="experiment"),
        Field("startTimeSinceEpoch", Shape.TIME, fixed=True),
        Field("endTimeSinceEpoch", Shape.TIME),
        Field("status", choices=("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"), default="RUNNING"),
        Field("state", choices=LIFE, default="LIVE"),
        Field("owner"),
    ),
    parent_field="experimentId",
    has_parent=True,
)

MODEL_ARTIFACT = EntityType(
    "model-artifact",
    "model artifact",
    RegistryArtifact,
    (
        *_ARTIFACT,
        *(
            Field(name)
            for name in (
                "modelFormatName",
                "modelFormatVersion",
                "storageKey",
                "storagePath",
                "serviceAccountName",
                "modelSourceKind",
                "modelSourceClass",
                "modelSourceGroup",
                "modelSourceId",
                "modelSourceName",
            )
        ),
    ),
    has_parent=True,
    artifact_type="model-artifact",
)

DOC_ARTIFACT = EntityType(
    "doc-artifact", "doc artifact", RegistryArtifact, _ARTIFACT, has_parent=True, artifact_type="doc-artifact"
)

DATASET_ARTIFACT = EntityType(
    "dataset-artifact",
    "dataset artifact",
    RegistryArtifact,
    (*_ARTIFACT, *(Field(name) for name in ("digest", "sourceType", "source", "schema", "profile"))),
    has_parent=True,
    artifact_type="dataset-artifact",
)

_VALUE_ARTIFACT = tuple(field for field in _ARTIFACT if field.name != "uri")

METRIC = EntityType(
    "metric",
    "metric",
    RegistryArtifact,
    (
        *_VALUE_ARTIFACT,
        Field("value", Shape.NUMBER),
        Field("timestamp"),
        Field("step", Shape.INTEGER),
    ),
    has_parent=True,
    artifact_type="metric",
)

PARAMETER = EntityType(
    "parameter",
    "parameter",
    RegistryArtifact,
    (
        *_VALUE_ARTIFACT,
        Field("value"),
        Field("parameterType", choices=("string", "number", "boolean", "object")),
    ),
    has_parent=True,
    artifact_type="parameter",
)

METRIC_POINT = EntityType(
    "metric-history", "metric", RegistryMetricPoint, METRIC.fields, has_parent=True, artifact_type="metric"
)
"""A value that a run's metric has had; clients read it as a metric."""

ARTIFACT_TYPES: Mapping[str, EntityType] = {
    entity.kind: entity for entity in (MODEL_ARTIFACT, DOC_ARTIFACT, DATASET_ARTIFACT, METRIC, PARAMETER)
}

UPSERTED_BY_NAME = (METRIC, PARAMETER)
"""Posting one of these again under the same parent and name updates it; the others answer 409."""

CONTEXT_TYPES: Mapping[str, EntityType] = {
    entity.kind: entity
    for entity in (
        REGISTERED_MODEL,
        MODEL_VERSION,
        SERVING_ENVIRONMENT,
        INFERENCE_SERVICE,
        EXPERIMENT,
        EXPERIMENT_RUN,
    )
}

ENTITY_TYPES: Mapping[str, EntityType] = {
    **CONTEXT_TYPES,
    **ARTIFACT_TYPES,
    **{entity.kind: entity for entity in (SERVE_MODEL, METRIC_POINT)},
}
