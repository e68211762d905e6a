"""Many rows of a table in one statement, as their values: an object of the model for each would cost more than the statement."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

from django.db import connection, models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.sql.compiler import SQLCompiler
from django.utils import timezone

Row = Mapping[str, object]  # column -> value; all rows of one statement name the same columns

DO_NOTHING = "ON CONFLICT DO NOTHING"


class _Among(models.Lookup):
    """`column = ANY (ids)`: one parameter however many ids, where `IN` has one for each, which costs more than reading the row."""

    prepare_rhs = False

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, tuple[Any, ...]]:
        column, params = self.process_lhs(compiler, connection)
        ids = ",".join(map(str, self.rhs))
        return f"{column} = ANY(%s::bigint[])", (*params, f"{{{ids}}}")


def among(column: str, ids: Iterable[int]) -> Any:
    """A condition: the column holds one of these ids."""
    return _Among(models.F(column), list(ids))


Shape = TypeVar("Shape", bound=NamedTuple)


def read(found: models.QuerySet[Any], shape: type[Shape]) -> list[Shape]:
    """The columns that a shape names, of each of these rows."""
    return [shape._make(row) for row in found.values_list(*shape._fields)]


def insert(model: type[models.Model], rows: Sequence[Row], *, conflict: str = "") -> None:
    """Add them in their order. A column that no row names has its field's default, the same in all, or the clock where it says when a row was
    made.
    `conflict`: what happens to a row that is there already, in the words of the database; without any, it is an error."""
    if not rows:
        return
    if any(row.keys() != rows[0].keys() for row in rows):
        raise ValueError(f"rows of {model.__name__} name different columns")
    statement, clocks, defaults = _statement(model, tuple(rows[0]))
    said = [{**row, **{column: timezone.now() for column in clocks}} for row in rows] if clocks else rows
    with connection.cursor() as cursor:
        cursor.execute(f"{statement} {conflict}", [*_defaults(defaults), json.dumps(said, default=_as_text)])


def on_conflict(unique: Sequence[str], news: Sequence[str]) -> str:
    """A row that is there already takes over these columns."""
    taken = ", ".join(f"{column} = EXCLUDED.{column}" for column in news)
    return f"ON CONFLICT ({', '.join(unique)}) DO UPDATE SET {taken}"


Fields = tuple["models.Field[Any, Any]", ...]


@lru_cache
def _statement(model: type[models.Model], named: tuple[str, ...]) -> tuple[str, tuple[str, ...], Fields]:
    """The statement, the columns that are given the clock, and the fields whose defaults it asks for."""
    fields = {str(field.column): field for field in model._meta.concrete_fields}  # noqa: SLF001  # its columns
    unknown = set(named) - set(fields)
    if unknown:
        raise ValueError(f"{model.__name__} has no column {', '.join(sorted(unknown))}")
    clocks = tuple(
        column for column, field in fields.items() if column not in named and getattr(field, "auto_now_add", False)
    )
    said = {column: f"{fields[column].db_type(connection)}" for column in (*named, *clocks)}
    rest = {
        column: field
        for column, field in fields.items()
        if column not in said and not isinstance(field, models.AutoField)
    }
    columns = [f'"{column}"' for column in (*said, *rest)]
    values = [f'said."{column}"' for column in said]
    values += [f"%s::{field.db_type(connection)}" for field in rest.values()]
    shape = ", ".join(f'"{column}" {kind}' for column, kind in said.items())
    statement = (
        f'INSERT INTO "{model._meta.db_table}" ({", ".join(columns)})'  # noqa: S608, SLF001  # names of columns
        f" SELECT {', '.join(values)} FROM jsonb_to_recordset(%s::jsonb) AS said({shape})"
    )
    return statement, clocks, tuple(rest.values())


def _defaults(fields: Fields) -> list[Any]:
    return [field.get_db_prep_save(field.get_default(), connection) for field in fields]


def _as_text(value: object) -> str:
    match value:
        case datetime():
            return value.isoformat()
        case bytes():
            return rf"\x{value.hex()}"
        case UUID():
            return str(value)
    raise TypeError(f"a column is given {value!r}, of which it is not said how it is stored")
