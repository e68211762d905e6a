"""Ten thousand tasks whose checks turn red: the rows before, the rows that deciding makes, and the same rows written bare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from django.db import connection, models, transaction
from django.utils import timezone
from psycopg.types.json import Jsonb

from benchmarks.rows import HEAD
from orchestrator.models import Check, DecisionRecord, Event, Job, Message, Project, PullRequest, Reaction, Task

MADE: tuple[type[models.Model], ...] = (Reaction, Message, Event, Job, DecisionRecord)
# All that `TaskQuerySet.settle` writes.
SETTLED = (
    *("status", "reason", "evidence", "attention", "standing", "wake_at", "version", "updated_at"),
    *("outcome", "ended_at", "progress"),
)


@transaction.atomic
def turn_red(ids: Sequence[int]) -> None:
    """A required check of each of these fails, and each asks to be looked at."""
    now = timezone.now()
    Project.objects.update(scm={"plugin": "local", "requiredChecks": ["ci"]})
    pulls = PullRequest.objects.filter(task__in=ids).values_list("pk", flat=True)
    Check.objects.bulk_create(
        (
            Check(
                pull_request_id=pk,
                name="ci",
                head_sha=HEAD,
                status="completed",
                conclusion="failure",
                failing_log="E   assert 1 == 2\n" * 20,
                fingerprint=f"{pk:x}",
                completed_at=now,
            )
            for pk in pulls
        ),
        batch_size=1000,
    )
    Task.objects.filter(pk__in=ids).update(wake_at=now)


def as_before(ids: Sequence[int]) -> None:
    """Everything that deciding made is gone again, and each task asks to be looked at."""
    with transaction.atomic(), connection.cursor() as cursor:
        for model in MADE:
            kept = " AND key LIKE 'send:%%'" if model is Message else ""
            cursor.execute(f"DELETE FROM {model._meta.db_table} WHERE task_id = ANY(%s){kept}", [list(ids)])  # noqa: SLF001  # names of tables
        Task.objects.filter(pk__in=ids).update(
            status="review_pending", attention="review", reason="waits for a review", standing="", evidence=[],
            wake_at=timezone.now(), version=1, progress=None,
        )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What is written of one batch: statements with their rows."""

    statements: tuple[tuple[str, list[Sequence[Any]]], ...]


def written(ids: Sequence[int], *, together: int) -> list[Written]:
    """The rows that deciding on these tasks made and changed, batch by batch, as bare statements."""
    tables = {model: _rows_by_task(model) for model in MADE}
    settled = {row[-1]: row for row in Task.objects.filter(pk__in=ids).values_list(*SETTLED, "pk")}
    update = f"UPDATE orchestrator_task SET {', '.join(f'{name} = %s' for name in SETTLED)} WHERE id = %s"  # names of columns
    found: list[Written] = []
    for start in range(0, len(ids), together):
        batch = ids[start : start + together]
        statements = [(update, [tuple(map(_adapted, settled[pk])) for pk in batch])]
        statements += [(insert, [row for pk in batch for row in rows.get(pk, [])]) for insert, rows in tables.values()]
        found.append(Written(statements=tuple(statements)))
    return found


def _rows_by_task(model: type[models.Model]) -> tuple[str, dict[int, list[Sequence[Any]]]]:
    fields = [field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField)]  # noqa: SLF001  # its columns
    columns = [str(field.column) for field in fields]
    marks = ", ".join(["%s"] * len(columns))
    insert = f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) VALUES ({marks})"  # noqa: SLF001  # names of columns
    rows: dict[int, list[Sequence[Any]]] = {}
    made = model._default_manager.filter(key__startswith="send:") if model is Message else model._default_manager.all()  # noqa: SLF001
    for row in made.values_list("task_id", *(field.attname for field in fields)):
        rows.setdefault(row[0], []).append(tuple(map(_adapted, row[1:])))
    return insert, rows


def _adapted(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict | list) else value


def write(batches: Sequence[Written], url: str) -> None:
    """Write them bare, a transaction a batch."""
    with psycopg.connect(url) as database:
        for batch in batches:
            with database.transaction(), database.cursor() as cursor:
                for statement, rows in batch.statements:
                    cursor.executemany(statement, rows)


def counted(ids: Sequence[int]) -> dict[str, float]:
    """Rows a task that deciding made."""
    per_task = {model.__name__: model._default_manager.filter(task__in=ids) for model in MADE}  # noqa: SLF001
    per_task["Message"] = Message.objects.filter(task__in=ids, key__startswith="send:")
    return {name: rows.count() / len(ids) for name, rows in per_task.items()}
