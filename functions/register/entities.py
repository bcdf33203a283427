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
)


class Shape(Enum):
    """What a field's JSON value must be."""

    TEXT = "a string"
    TEXTS = "an array of strings"
    NUMBER = "a number"
    INTEGER = "an integer"
    ID = "the decimal id of an entity, as a string"


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


@dataclass(frozen=True)
class EntityType:
    """One kind of entity: `kind` is stored and, for artifacts, is the wire's artifactType."""

    kind: str
    title: str
    table: type[RegistryContext] | type[RegistryArtifact]
    fields: tuple[Field, ...]
    parent_field: str | None = None
    """The wire field that holds the parent's id, where the wire has one."""

    @property
    def is_artifact(self) -> bool:
        """Whether it lives in the artifacts' id space."""
        return self.table is RegistryArtifact

    @property
    def properties(self) -> type[RegistryContextProperty] | type[RegistryArtifactProperty]:
        """The table that indexes its custom properties."""
        return RegistryArtifactProperty if self.is_artifact else RegistryContextProperty

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
        *(
            Field(name, searchable=False)
            for name in ("readme", "maturity", "provider", "logo", "license", "licenseLink", "libraryName")
        ),
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
        Field("registeredModelId", Shape.ID, required=True, fixed=True),
        Field("state", choices=LIFE, default="LIVE"),
        Field("author"),
    ),
    parent_field="registeredModelId",
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
)

DOC_ARTIFACT = EntityType("doc-artifact", "doc artifact", RegistryArtifact, _ARTIFACT)

DATASET_ARTIFACT = EntityType(
    "dataset-artifact",
    "dataset artifact",
    RegistryArtifact,
    (*_ARTIFACT, *(Field(name) for name in ("digest", "sourceType", "source", "schema", "profile"))),
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
)

ARTIFACT_TYPES: Mapping[str, EntityType] = {
    entity.kind: entity for entity in (MODEL_ARTIFACT, DOC_ARTIFACT, DATASET_ARTIFACT, METRIC, PARAMETER)
}

UPSERTED_BY_NAME = (METRIC, PARAMETER)
"""Posting one of these again under the same parent and name updates it; the others answer 409."""

ENTITY_TYPES: Mapping[str, EntityType] = {
    REGISTERED_MODEL.kind: REGISTERED_MODEL,
    MODEL_VERSION.kind: MODEL_VERSION,
} | {**ARTIFACT_TYPES}
