"""The declarative base of all tables, and the column types that they share.

Times are integers: milliseconds since 1970-01-01 UTC, named `..._ms`. JSON columns are JSONB on PostgreSQL.
"""

import time
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, Integer, MetaData
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase

JSONValue = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""A JSON document; Python None is SQL NULL."""

Sequence = BigInteger().with_variant(Integer, "sqlite")
"""An auto-incremented primary key; SQLite increments only a column that is declared INTEGER."""


class Base(DeclarativeBase):
    """The base of every table's class."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {dict[str, Any]: JSONValue, list[Any]: JSONValue}


def now_ms() -> int:
    """Return the present time in milliseconds since 1970-01-01 UTC."""
    return time.time_ns() // 1_000_000
