"""The life of an escalation: who is told when, what people do with it, and what becomes of it when its cause goes."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone

from orchestrator.domain.actions import Settle
from orchestrator.domain.rules import Priority, Trigger
from orchestrator.models import Event, InboxItem, Interruption, Notification, Role, Task
from orchestrator.services import calls, escalations, promises
from orchestrator.services.events import Actor
from orchestrator.services.reconcile import reconcile
from orchestrator.services.tasks import InvalidTask, NotNow
from tests import calling
from tests.calling import a_task, a_team, ask, channel, let_pass
from tests.lab import together
from workers import sweeps, toolbox

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
def team() -> tuple[User, User, User]:
    return a_team()


@pytest.fixture
def task(team: tuple[User, User, User]) -> Task:
    ada, grace, _ = team
    return a_task(ada, grace)


def told() -> dict[str, list[str]]:
    """Everybody's inbox: what each was told last of each thing."""
    found: dict[str, list[str]] = {}
    for item in InboxItem.objects.select_related("person").order_by("pk"):
        found.setdefault(item.person.get_username(), []).append(item.telling)
    return found


def actor(user: User) -> Actor:
    return Actor(user=user, at=timezone.now())


def settle(task: Task, cause: str) -> None:
    promises.promise([Settle(cause=cause)], task=task, now=timezone.now())


# --- By time ------------------------------------------------------------------------------------------------------------------------------


def test_first_the_author_then_the_maintainers_then_the_admins(task: Task) -> None:
    ask(task)
    assert told() == {"ada": ["asked"]}
    let_pass(15 * MINUTE)
    sweeps.call_again()
    assert told() == {"ada": ["climbed"], "grace": ["climbed"]}
    let_pass(45 * MINUTE)
    sweeps.call_again()
    assert told() == {"ada": ["climbed"], "grace": ["climbed"], "chief": ["climbed"]}
    let_pass(30 * MINUTE)
    sweeps.call_again()
    assert told() == {"ada": ["reminded"], "grace": ["reminded"], "chief": ["reminded"]}


def test_nobody_is_told_before_the_time(task: Task) -> None:
    ask(task)
    let_pass(14 * MINUTE)
    assert sweeps.call_again() == 0
    assert told() == {"ada": ["asked"]}


def test_where_nobody_stands_on_a_rung_the_next_is_called_at_once(team: tuple[User, User, User]) -> None:
    _, grace, _ = team
    asked = ask(a_task(None, grace))
    assert told() == {"grace": ["asked"]}
    assert asked.step == 1


def test_an_author_who_left_the_project_is_not_told(task: Task, team: tuple[User, User, User]) -> None:
    task.project.memberships.filter(user=team[0]).delete()
    ask(task)
    assert told() == {"grace": ["asked"]}


def test_three_beats_at_once_call_once(task: Task) -> None:
    channel("slack")
    ask(task)
    let_pass(15 * MINUTE)
    together(*[sweeps.call_again for _ in range(3)])
    together(*[sweeps.call_again for _ in range(3)])
    assert Notification.objects.filter(telling="climbed").count() == 1
    assert Interruption.objects.get().tellings == 1
    assert InboxItem.objects.get(person__username="ada").times == 2


def test_without_any_beat_the_sweep_of_a_worker_calls(task: Task) -> None:
    ask(task)
    let_pass(15 * MINUTE)
    sweeps.sweep(queues=["control"], tools=toolbox.real())
    assert told()["grace"] == ["climbed"]


def test_a_worker_that_dies_while_it_calls_has_told_nobody_and_the_next_one_tells_once(task: Task) -> None:
    channel("slack")
    asked = ask(task)
    let_pass(15 * MINUTE)
    with contextlib.suppress(KeyboardInterrupt), transaction.atomic():
        calls.call_again(interruption_id=asked.pk, now=timezone.now())
        raise KeyboardInterrupt
    assert told() == {"ada": ["asked"]}
    sweeps.call_again()
    sweeps.call_again()
    assert told() == {"ada": ["climbed"], "grace": ["climbed"]}
    assert Notification.objects.filter(telling="climbed").count() == 1


def test_a_service_that_was_away_for_a_day_tells_once_and_everybody(task: Task) -> None:
    ask(task)
    let_pass(24 * HOUR)
    sweeps.call_again()
    assert told() == {"ada": ["climbed"], "grace": ["climbed"], "chief": ["climbed"]}
    assert InboxItem.objects.get(person__username="ada").times == 2
    assert sweeps.call_again() == 0


def test_the_same_cause_is_one_line_in_the_inbox_however_often_it_is_told(task: Task) -> None:
    ask(task)
    ask(task)
    for _ in range(5):
        let_pass(HOUR)
        sweeps.call_again()
    item = InboxItem.objects.get(person__username="ada")
    assert (item.times, item.read_at) == (6, None)


def test_a_question_that_is_not_urgent_is_told_once(task: Task) -> None:
    ask(task, "approved-and-green:x", priority=Priority.ACTION, escalation=False, trigger=Trigger.APPROVED_AND_GREEN)
    let_pass(9 * HOUR)
    assert sweeps.call_again() == 0
    assert told() == {"ada": ["asked"]}


def test_a_project_that_reminds_never_and_calls_its_maintainers_first(task: Task) -> None:
    task.project.escalation = {"remind": "never", "ladder": [{"to": "maintainers"}]}
    task.project.save()
    ask(task)
    let_pass(9 * HOUR)
    assert sweeps.call_again() == 0
    assert told() == {"grace": ["asked"]}


# --- What people do -----------------------------------------------------------------------------------------------------------------------


def test_who_acknowledges_ends_the_reminders_and_it_stays_until_its_cause_is_gone(
    task: Task, team: tuple[User, User, User]
) -> None:
    asked = ask(task)
    escalations.acknowledge(interruption=asked, actor=actor(team[0]))
    let_pass(9 * HOUR)
    assert sweeps.call_again() == 0
    assert [one.state for one in Interruption.objects.unresolved()] == ["acknowledged"]
    settle(task, asked.cause)
    asked.refresh_from_db()
    assert (asked.state, asked.resolution) == ("resolved", "it went away by itself")


def test_an_escalation_whose_cause_went_is_not_pressed_and_stays_open_until_somebody_acknowledges_it(
    task: Task, team: tuple[User, User, User]
) -> None:
    asked = ask(task)
    settle(task, asked.cause)
    let_pass(9 * HOUR)
    assert sweeps.call_again() == 0
    assert list(Interruption.objects.open()) == [asked]
    escalations.acknowledge(interruption=asked, actor=actor(team[0]))
    asked.refresh_from_db()
    assert (asked.state, asked.resolution) == ("resolved", "ada acknowledged it")


def test_a_cause_that_comes_back_before_anybody_looked_presses_again(task: Task) -> None:
    asked = ask(task)
    settle(task, asked.cause)
    ask(task)
    let_pass(15 * MINUTE)
    sweeps.call_again()
    assert told()["grace"] == ["climbed"]


def test_a_snooze_is_quiet_and_comes_back_by_itself(task: Task, team: tuple[User, User, User]) -> None:
    asked = ask(task)
    reconcile(task_id=task.pk, now=timezone.now())
    task.refresh_from_db()
    assert task.attention == "respond"
    escalations.snooze(interruption=asked, until=timezone.now() + 2 * HOUR, actor=actor(team[0]))
    reconcile(task_id=task.pk, now=timezone.now())
    task.refresh_from_db()
    assert task.attention != "respond"
    let_pass(1.9 * HOUR)
    assert sweeps.call_again() == 0
    let_pass(0.2 * HOUR)
    sweeps.call_again()
    sweeps.reconcile_due()
    task.refresh_from_db()
    assert (task.attention, told()) == ("respond", {"ada": ["back"]})


def test_what_a_snooze_hides_is_back_even_when_its_cause_went_meanwhile(
    task: Task, team: tuple[User, User, User]
) -> None:
    asked = ask(task)
    escalations.snooze(interruption=asked, until=timezone.now() + HOUR, actor=actor(team[0]))
    settle(task, asked.cause)
    let_pass(HOUR)
    sweeps.call_again()
    assert list(Interruption.objects.open()) == [asked]


def test_a_person_resolves_it_with_words_and_history_says_who(task: Task, team: tuple[User, User, User]) -> None:
    asked = ask(task)
    escalations.resolve(interruption=asked, resolution=" the flaky test is skipped ", actor=actor(team[1]))
    asked.refresh_from_db()
    assert (asked.state, asked.resolution) == ("resolved", "grace: the flaky test is skipped")
    line = Event.objects.get(kind="human.resolved")
    assert (line.actor_name, line.data) == ("grace", {"escalation": asked.pk})
    with pytest.raises(NotNow, match="resolved already"):
        escalations.resolve(interruption=asked, resolution="again", actor=actor(team[1]))


def test_words_and_times_that_make_no_sense_are_refused_by_name(task: Task, team: tuple[User, User, User]) -> None:
    asked = ask(task)
    with pytest.raises(InvalidTask, match="at most 4w2d ahead"):
        escalations.snooze(interruption=asked, until=timezone.now() + timedelta(days=31), actor=actor(team[0]))
    with pytest.raises(InvalidTask, match="from now on"):
        escalations.snooze(interruption=asked, until=timezone.now() - MINUTE, actor=actor(team[0]))
    with pytest.raises(InvalidTask, match="how it was resolved"):
        escalations.resolve(interruption=asked, resolution="  ", actor=actor(team[0]))
    escalations.acknowledge(interruption=asked, actor=actor(team[0]))
    with pytest.raises(NotNow, match="acknowledged already"):
        escalations.snooze(interruption=asked, until=timezone.now() + HOUR, actor=actor(team[0]))


def test_what_must_never_be_false_is_a_constraint(task: Task) -> None:
    asked = Interruption.objects.filter(pk=ask(task).pk)
    now = timezone.now()
    for name, wrong in {
        "what_somebody_took_on_presses_nobody": {"acknowledged_at": now},
        "what_is_snoozed_comes_back": {"snoozed_until": now, "wake_at": None},
        "what_is_resolved_says_how": {"resolved_at": now, "wake_at": None},
    }.items():
        with pytest.raises(IntegrityError, match=name), transaction.atomic():
            asked.update(**wrong)


def test_a_superuser_who_is_the_author_is_told_once(team: tuple[User, User, User]) -> None:
    chief = team[2]
    task = a_task(chief)
    calling.join(task.project, chief, Role.MAINTAINER)
    ask(task)
    let_pass(2 * HOUR)
    sweeps.call_again()
    assert told() == {"chief": ["climbed"]}
