"""What an entity says about others must be so: the ids that it names exist, and belong together."""

from sqlalchemy.orm import Session

from zeroflow.errors import InvalidInput
from zeroflow.functions.register import lookup
from zeroflow.functions.register.documents import Row
from zeroflow.functions.register.entities import ENTITY_TYPES, EXPERIMENT_RUN, INFERENCE_SERVICE, EntityType


def check_references(session: Session, entity: EntityType, row: Row, given: tuple[str, ...] | None = None) -> None:
    """Raise NotFound for an id of nothing, InvalidInput for what cannot be; `given`: only these fields are new."""
    with session.no_autoflush:
        for field in entity.fields:
            number = row.fields.get(field.name)
            if field.refers_to and number is not None and (given is None or field.name in given):
                lookup.get(session, ENTITY_TYPES[field.refers_to], number)
        if entity is INFERENCE_SERVICE and row.fields.get("modelVersionId") is not None:
            version = lookup.get_version(session, row.fields["modelVersionId"])
            if version.parent_id != row.fields["registeredModelId"]:
                raise InvalidInput(
                    f"field 'modelVersionId' must be a version of registered model {row.fields['registeredModelId']}; "
                    f"{version.id} is one of {version.parent_id}"
                )
    if entity is EXPERIMENT_RUN:
        start, end = row.fields.get("startTimeSinceEpoch"), row.fields.get("endTimeSinceEpoch")
        if start is not None and end is not None and end < start:
            raise InvalidInput(f"field 'endTimeSinceEpoch' must not be before startTimeSinceEpoch: {end} < {start}")
