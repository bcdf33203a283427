"""A filter as a condition on the registry's tables; every value of the user's is a bound parameter.

What the entity knows by name is compared in its column or document; any other name is a custom property, found through
the property table's indexes. A number matches integers and doubles alike; `!=` wants the property to be there. LIKE is
case-sensitive and ILIKE is not, on SQLite (there, for ASCII letters) as on PostgreSQL.
"""

import operator
import re
from collections.abc import Callable
from typing import Any

from sqlalchemy import BigInteger, Boolean, ColumnElement, Double, String, and_, false, func, literal, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from zeroflow.errors import InvalidInput
from zeroflow.functions.register import filters
from zeroflow.functions.register.entities import EntityType, Shape
from zeroflow.functions.register.filters import Comparison, Condition, Scalar
from zeroflow.functions.register.properties import INT64
from zeroflow.metadata.registry import STRING_START

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}
_PATTERN = re.compile(r"\\(.)|(%)|(_)|(.)", re.DOTALL)


def condition(query: str, entities: tuple[EntityType, ...]) -> ColumnElement[bool]:
    """Parse and compile a filter over entities of one table; raise InvalidInput for what cannot be meant."""
    return _compile(filters.parse(query), entities)


class _Matches(FunctionElement[bool]):
    """`text LIKE pattern`, case-sensitive on every database: clauses are the text and both dialects' patterns."""

    type = Boolean()
    inherit_cache = True


@compiles(_Matches, "postgresql")
def _matches_postgresql(element: Any, compiler: Any, **options: Any) -> str:
    column, like, _glob = element.clauses
    return f"{compiler.process(column, **options)} LIKE {compiler.process(like, **options)} ESCAPE '\\'"


@compiles(_Matches, "sqlite")
def _matches_sqlite(element: Any, compiler: Any, **options: Any) -> str:
    column, _like, glob = element.clauses
    return f"{compiler.process(column, **options)} GLOB {compiler.process(glob, **options)}"


def _compile(tree: Condition, entities: tuple[EntityType, ...]) -> ColumnElement[bool]:
    match tree:
        case filters.All(parts):
            return and_(*(_compile(part, entities) for part in parts))
        case filters.Any(parts):
            return or_(*(_compile(part, entities) for part in parts))
        case _:
            return _compare(tree, entities)


def _compare(comparison: Comparison, entities: tuple[EntityType, ...]) -> ColumnElement[bool]:
    """Compile one comparison; where several types are listed, each reads the name in its own way."""
    if len(entities) == 1:
        return _compare_in(comparison, entities[0])
    kind = entities[0].table.kind
    return or_(*(and_(kind == entity.kind, _compare_in(comparison, entity)) for entity in entities))


def _compare_in(comparison: Comparison, entity: EntityType) -> ColumnElement[bool]:
    table: Any = entity.table
    match comparison.name:
        case "id":
            return _number(comparison, table.id)
        case "createTimeSinceEpoch":
            return _number(comparison, table.created_ms)
        case "lastUpdateTimeSinceEpoch":
            return _number(comparison, table.updated_ms)
        case "name":
            return _text(comparison, table.name)
        case "externalId":
            return _text(comparison, table.external_id)
        case name if name == entity.parent_field:
            return _number(comparison, table.parent_id)
        case "experimentId" | "experimentRunId" as name if entity.is_artifact:
            return _number(comparison, table.fields[name].as_float())
    field = entity.field(comparison.name)
    if field is None or not field.searchable:
        return _custom(comparison, entity)
    if field.name in ("state", "uri"):
        return _text(comparison, getattr(table, field.name))
    if field.shape in (Shape.NUMBER, Shape.INTEGER, Shape.ID, Shape.TIME):
        return _number(comparison, table.fields[field.name].as_float())
    return _text(comparison, table.fields[field.name].as_string())


def _text(comparison: Comparison, column: Any) -> ColumnElement[bool]:
    values = _values(comparison)
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) != len(values):
        raise InvalidInput(f"invalid filterQuery: {comparison.name} is text; put its value in quotes")
    return _apply(comparison.operator, column, texts)


def _number(comparison: Comparison, column: Any) -> ColumnElement[bool]:
    if comparison.operator in ("LIKE", "ILIKE"):
        raise InvalidInput(f"invalid filterQuery: {comparison.operator} needs text, and {comparison.name} is a number")
    numbers: list[int | float] = []
    for value in _values(comparison):
        number = int(value) if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value) else value
        if isinstance(number, (bool, str)):
            raise InvalidInput(f"invalid filterQuery: {comparison.name} is a number, got {str(value)[:40]!r}")
        numbers.append(number)
    return _apply(comparison.operator, column, [_bound(number) for number in numbers])


def _custom(comparison: Comparison, entity: EntityType) -> ColumnElement[bool]:
    """Compare a custom property, in whichever of its typed columns the value or the forced type points to."""
    table: Any = entity.properties
    if table is None:
        raise InvalidInput(
            f"invalid filterQuery: metric history has no property {comparison.name[:64]!r} to search; it has name, "
            "value, step, timestamp, state, id, createTimeSinceEpoch and lastUpdateTimeSinceEpoch"
        )
    values = _values(comparison)
    forced = comparison.forced
    alternatives: list[ColumnElement[bool]] = []
    texts = [value for value in values if isinstance(value, str)]
    truths = [value for value in values if isinstance(value, bool)]
    numbers = [_bound(value) for value in values if not isinstance(value, (str, bool))]
    if texts and forced in (None, "string_value"):
        alternatives.append(_apply(comparison.operator, table.string_value, texts))
        if comparison.operator in ("=", "IN"):
            starts = table.string_start.in_([text[:STRING_START] for text in texts])
            whole = all(len(text) < STRING_START for text in texts)  # then a start is the string: the index tells all
            alternatives[-1] = starts if whole else and_(starts, alternatives[-1])
    if truths and forced in (None, "bool_value") and comparison.operator in ("=", "!=", "IN"):
        alternatives.append(_apply(comparison.operator, table.bool_value, truths))
    if numbers and comparison.operator not in ("LIKE", "ILIKE"):
        alternatives.extend(
            _apply(comparison.operator, getattr(table, column), numbers)
            for column in ("int_value", "double_value")
            if forced in (None, column)
        )
    if not alternatives:
        raise InvalidInput(
            f"invalid filterQuery: {comparison.operator} cannot compare {comparison.name}"
            f"{f' as {forced}' if forced else ''} with {values[0]!r}"
        )
    owner: Any = entity.table
    found: ColumnElement[bool] = owner.id.in_(
        select(table.owner_id).where(table.name == comparison.name, or_(false(), *alternatives))
    )
    return found


def _apply(name: str, column: Any, values: list[Any]) -> ColumnElement[bool]:
    match name:
        case "IN":
            found: ColumnElement[bool] = column.in_(values)
        case "LIKE" | "ILIKE":
            found = _like(column, str(values[0]), ignore_case=name == "ILIKE")
        case _:
            found = _OPERATORS[name](column, values[0])
    return found


def _like(column: Any, pattern: str, *, ignore_case: bool) -> ColumnElement[bool]:
    like, glob = pattern, pattern
    if ignore_case:
        column, like = func.lower(column), pattern.lower()
        glob = pattern.translate(_ASCII_LOWER)  # as far as SQLite's lower() goes
    return _Matches(
        column,
        literal(_rewritten(like, "%", "_", lambda text: re.sub(r"[\\%_]", r"\\\g<0>", text)), String()),
        literal(_rewritten(glob, "*", "?", lambda text: re.sub(r"[*?[]", r"[\g<0>]", text)), String()),
    )


def _rewritten(pattern: str, any_text: str, any_one: str, quote: Callable[[str], str]) -> str:
    """Write a LIKE pattern with other wildcards, its ordinary characters quoted."""
    return "".join(
        any_text if many else any_one if one else quote(escaped or plain)
        for escaped, many, one, plain in _PATTERN.findall(pattern)
    )


def _values(comparison: Comparison) -> tuple[Scalar, ...]:
    return comparison.value if isinstance(comparison.value, tuple) else (comparison.value,)


def _bound(number: int | float) -> ColumnElement[Any]:
    """Bind a number as what it is, whatever the column's type; an integer beyond 64 bits becomes a double."""
    if isinstance(number, int) and -INT64 <= number < INT64:
        return literal(number, BigInteger())
    return literal(float(number), Double())
