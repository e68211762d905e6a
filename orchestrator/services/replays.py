"""`ao replay`: another rule set over what was recorded. It reads, and writes nothing."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from orchestrator.domain.replay import Compared, Kind, RulesAt, compare, counted
from orchestrator.domain.rules import Override, Rule, Trigger, effective, laid_over
from orchestrator.domain.snapshot import Snapshot
from orchestrator.models import DecisionRecord, Project, Task
from orchestrator.services import rules, snapshots
from orchestrator.services.configuration.applying import Loaded
from orchestrator.services.configuration.rules import Reactions, override_of_file
from orchestrator.services.recording import recorder
from orchestrator.services.recording.recorder import Unreadable

MOST_DAYS = 365
PATIENCE = 5.0  # seconds of one round; whoever asked goes on from its cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Otherwise:
    """The rule set that is tried out. A file with more than reactions stands in place of what all projects and each project set; one with
    reactions alone is laid over the rules that held at each instant. A task's own rules stay, where the file is whole."""

    everywhere: tuple[Override, ...]
    of_project: Mapping[str, tuple[Override, ...]]
    whole: bool

    @classmethod
    def of(cls, loaded: Loaded) -> Otherwise:
        """What a file says about reactions."""
        shape = loaded.shape
        return cls(
            everywhere=_overrides(shape.reactions or {}),
            of_project={key: _overrides(project.reactions or {}) for key, project in (shape.projects or {}).items()},
            whole=set(loaded.raw) != {"reactions"},
        )

    def for_task(self, task: Task) -> RulesAt:
        """These rules at each instant of a task."""
        if not self.whole:
            return lambda snapshot: {t: laid_over(rule, self.everywhere) for t, rule in snapshot.rules.items()}
        places = (
            *self.everywhere,
            *self.of_project.get(task.project.key, ()),
            *rules.overrides_in(task.own_rules),
        )
        said: Mapping[Trigger, Rule] = {trigger: effective(trigger, places) for trigger in Trigger}
        return lambda _: said


def _overrides(reactions: Reactions) -> tuple[Override, ...]:
    return tuple(override_of_file(trigger, reactions) for trigger in Trigger if str(trigger) in reactions)


@dataclass(slots=True, kw_only=True)
class Replayed:
    """What came of a round: the tasks that differ, the sums, what could not be read, and where to go on."""

    tasks: int = 0
    decisions: int = 0
    differing: list[tuple[Task, Compared]] = field(default_factory=list)
    was: Counter[Kind] = field(default_factory=Counter)
    now: Counter[Kind] = field(default_factory=Counter)
    unreadable: list[tuple[Task, str]] = field(default_factory=list)
    after: int | None = None


def replay(
    *,
    otherwise: Otherwise,
    days: int,
    project: Project | None,
    now: datetime,
    after: int = 0,
    patience: float = PATIENCE,
) -> Replayed:
    """Replay task after task, from the one after `after` on, for as long as patience lasts."""
    since = now - timedelta(days=days)
    found, until = Replayed(), time.monotonic() + patience
    last = after
    for task in _recorded_since(since, project, after):
        if time.monotonic() > until:
            found.after = last
            return found
        last = task.pk
        try:
            records = list(_records(task, since=since, now=now))
        except Unreadable as error:
            found.unreadable.append((task, str(error)))
            continue
        _add(found, task, compare(records, otherwise.for_task(task)), len(records))
    return found


def _recorded_since(since: datetime, project: Project | None, after: int) -> Iterator[Task]:
    recent = DecisionRecord.objects.filter(task=OuterRef("pk"), at__gte=since)
    rows = Task.objects.filter(Exists(recent), pk__gt=after).select_related("project").order_by("pk")
    yield from (rows.filter(project=project) if project is not None else rows).iterator(chunk_size=50)


def _records(task: Task, *, since: datetime, now: datetime) -> Iterator[Snapshot]:
    """The facts of each kept decision, and of a task that is still open the facts of this moment."""
    yield from (one.snapshot for one in recorder.recorded(task_id=task.pk, since=since))
    if task.open:
        yield snapshots.take(task, now=now)


def _add(found: Replayed, task: Task, compared: Compared, decisions: int) -> None:
    found.tasks += 1
    found.decisions += decisions
    found.was.update(counted(compared.was))
    found.now.update(counted(compared.now))
    if compared.differences:
        found.differing.append((task, compared))
