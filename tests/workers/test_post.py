"""Messages on their way to channels: one that hangs, one that is dead, a thousand at once; nobody else waits, nothing is lost, no flood."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from orchestrator.domain.actions import Interrupt, ReadIssue
from orchestrator.domain.rules import Priority
from orchestrator.models import Event, InboxItem, Interruption, Job, Notification, NotificationChannel, QuietTime, Task
from orchestrator.ports import Notice, Refused, Unavailable
from orchestrator.services import channels as channel_states
from orchestrator.services import escalations, promises, tasks
from orchestrator.services.events import Actor
from tests.calling import a_task, a_team, ask, channel, let_pass
from tests.lab import together
from tests.receivers import Receiver, mute, nobody, receiver
from workers import runner, sweeps, toolbox
from workers.deadline import Deadlines
from workers.post import Post
from workers.toolbox import Toolbox

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@dataclass(slots=True)
class Channels:
    """Fake channels: what each was told; one of them hangs until it is released, others fail."""

    told: list[tuple[str, Notice]] = field(default_factory=list)
    release: threading.Event = field(default_factory=threading.Event)
    fails: dict[str, Exception] = field(default_factory=dict)
    entered: threading.Event = field(default_factory=threading.Event)

    def notifier(self, row: NotificationChannel) -> Channel:
        return Channel(name=row.name, channels=self)

    def tools(self) -> Toolbox:
        return replace(toolbox.real(), notifier=self.notifier)

    def names(self) -> list[str]:
        return sorted(name for name, _ in self.told)

    def carry(self) -> None:
        """A round of the post, until everybody is back."""
        post = Post()
        post.round(self.tools())
        post.wait()


@dataclass(frozen=True, slots=True)
class Channel:
    name: str
    channels: Channels

    def notify(self, notice: Notice, *, timeout: float = 15) -> None:
        if self.name == "hanging":
            self.channels.entered.set()
            assert self.channels.release.wait(timeout)
        if self.name in self.channels.fails:
            raise self.channels.fails[self.name]
        self.channels.told.append((self.name, notice))


@pytest.fixture
def people() -> tuple[User, User, User]:
    return a_team()


@pytest.fixture
def task(people: tuple[User, User, User]) -> Task:
    return a_task(people[0], people[1])


@pytest.fixture
def channels() -> Iterator[Channels]:
    made = Channels()
    yield made
    made.release.set()


def carry() -> None:
    """A round of the post with the real notifiers."""
    post = Post()
    post.round(toolbox.real())
    post.wait()


def until(true: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 20
    pause = threading.Event()
    while not true():
        assert time.monotonic() < give_up
        pause.wait(0.01)


def test_d17_a_hanging_channel_delays_no_other(task: Task, channels: Channels) -> None:
    for name in ("hanging", "quick", "quicker"):
        channel(name)
    ask(task)
    post = Post()
    post.round(channels.tools())
    until(lambda: channels.names() == ["quick", "quicker"])
    assert channels.entered.wait(10)
    ask(task, "another", question="Another?")
    post.round(channels.tools())
    until(lambda: channels.names() == ["quick", "quick", "quicker", "quicker"])
    channels.release.set()
    post.wait()
    assert channels.names().count("hanging") == 2
    assert not Notification.objects.waiting().exists()


def test_one_delivery_at_a_time_for_each_channel_however_many_workers(task: Task, channels: Channels) -> None:
    row = channel("hanging")
    ask(task, "one")
    ask(task, "two")
    post = Post()
    post.round(channels.tools())
    assert channels.entered.wait(10)
    together(*[lambda: runner.run_due(queues=[row.queue], tools=channels.tools()) for _ in range(4)])
    assert Job.objects.filter(queue=row.queue, state="claimed").count() == 1
    assert Job.objects.filter(queue=row.queue, state="promised", claims=0).count() == 1
    channels.release.set()
    post.wait()
    assert channels.names() == ["hanging", "hanging"]


def test_each_channel_of_the_priority_is_told_once_by_however_many_workers(task: Task, channels: Channels) -> None:
    channel("one", "urgent")
    channel("two", "urgent")
    channel("calm", "info")
    ask(task)
    ask(task)
    together(*[channels.carry for _ in range(4)])
    assert channels.names() == ["one", "two"]


def test_a_message_says_the_reason_the_evidence_the_link_and_what_to_press(task: Task, channels: Channels) -> None:
    channel("one")
    ask(task)
    channels.carry()
    notice = channels.told[0][1]
    assert notice.title == "app#1: ci-failed: 2 tries used up. What now?"
    assert notice.body.splitlines() == [
        "Fix it",
        "the check unit failed",
        "Acknowledge it if you are on it; retry when it should go on.",
    ]
    assert notice.url.endswith(f"/tasks/{task.pk}/")
    assert (notice.priority, notice.event) == ("urgent", "asked")


def test_a_channel_that_is_away_is_tried_again_with_the_same_id_and_its_error_is_kept(
    task: Task, channels: Channels
) -> None:
    channel("one")
    ask(task)
    channels.fails["one"] = Unavailable("connection refused")
    channels.carry()
    sent = Notification.objects.get()
    assert (sent.error, sent.tries, sent.state) == ("connection refused", 1, "failing")
    channels.carry()
    assert Notification.objects.get().tries == 1  # it is left alone for a while
    channels.fails.clear()
    let_pass(5 * MINUTE)
    channels.carry()
    sent.refresh_from_db()
    assert [(name, notice.id) for name, notice in channels.told] == [("one", f"ao-{sent.pk}")]
    assert (sent.error, sent.state, sent.message) == ("", "sent", f"ao-{sent.pk}")


def test_a_worker_that_dies_over_a_message_costs_a_repetition_with_the_same_id_at_most(
    task: Task, channels: Channels
) -> None:
    row = channel("one")
    ask(task)
    claimed = runner.claim([row.queue])
    assert claimed is not None
    Job.objects.filter(pk=claimed.job).update(claimed_by="a worker that is gone", lease_until=timezone.now())
    channels.carry()
    channels.carry()
    assert [notice.id for _, notice in channels.told] == [f"ao-{Notification.objects.get().pk}"]


def test_what_was_acknowledged_meanwhile_is_not_sent_any_more(task: Task, channels: Channels) -> None:
    channel("one")
    ask(task)
    escalations.acknowledge(interruption=Interruption.objects.get(), actor=Actor(name="ada"))
    channels.carry()
    assert channels.told == []
    row = Notification.objects.get()
    assert (row.state, row.dropped_why) == ("dropped", "acknowledged")


def test_a_dead_channel_is_told_to_the_admins_once_by_the_others(task: Task, channels: Channels) -> None:
    channel("broken")
    channel("works")
    channels.fails["broken"] = Unavailable("connection refused")
    ask(task)
    for _ in range(6):
        channels.carry()
        let_pass(11 * MINUTE)
    assert [(n.title, n.event) for name, n in channels.told if name == "works" and n.event == "alert"] == [
        ("The channel broken takes no messages", "alert")
    ]
    assert InboxItem.objects.filter(person__username="chief", telling="alert").count() == 1
    assert Event.objects.filter(kind="channel.dead").count() == 1
    dead = NotificationChannel.objects.get(name="broken")
    assert (dead.trouble, dead.dead_since is not None) == ("connection refused", True)


def test_what_waits_for_a_dead_channel_comes_as_one_message_when_it_is_back(task: Task, channels: Channels) -> None:
    channel("broken")
    channels.fails["broken"] = Unavailable("connection refused")
    for n in range(30):
        ask(task, f"job:{n}", trigger=None, question=f"job {n} cannot be carried out")
    for _ in range(5):
        channels.carry()
        let_pass(11 * MINUTE)
    channels.fails.clear()
    channels.carry()
    digest = channels.told[-1][1]
    assert len(channels.told) == 1
    assert all(f"job {n} cannot" in digest.body for n in range(30))
    assert not Notification.objects.waiting().exists()
    assert Event.objects.filter(kind="channel.works").count() == 1


def test_a_channel_whose_settings_are_wrong_is_dead_at_once_and_sends_all_when_they_are_mended(
    task: Task, channels: Channels
) -> None:
    row = channel("slack")
    channels.fails["slack"] = Refused("no such channel", code="bad-channel")
    ask(task)
    channels.carry()
    row.refresh_from_db()
    assert row.dead_since is not None
    channels.fails.clear()
    channel_states.mended(channel_ids=[row.pk], now=timezone.now())
    channels.carry()
    assert channels.names() == ["slack"]


def test_after_a_day_a_message_is_given_up_and_still_in_the_inbox(task: Task, channels: Channels) -> None:
    channel("slack")
    channels.fails["slack"] = Unavailable("away")
    ask(task)
    channels.carry()
    let_pass(25 * HOUR)
    channels.carry()
    row = Notification.objects.get(telling="asked")
    assert (row.state, Job.objects.get(key=f"notify:{row.pk}").code) == ("dropped", "given-up")
    assert InboxItem.objects.filter(person__username="ada").exists()


def test_where_there_is_no_desktop_it_is_said_once_and_alarms_nobody(task: Task) -> None:
    row = channel("desktop", plugin="desktop")
    ask(task, "one")
    carry()
    ask(task, "two")
    carry()
    row.refresh_from_db()
    assert "no desktop" in row.trouble
    assert (row.dead_since, Event.objects.filter(kind="channel.unused").count()) == (None, 1)
    assert {one.state for one in Notification.objects.all()} == {"dropped"}
    assert not InboxItem.objects.filter(telling="alert").exists()


# --- Quiet hours --------------------------------------------------------------------------------------------------------------------------


def now_is_quiet(*, ends_in: timedelta = 2 * HOUR) -> dict[str, str]:
    now = timezone.now()
    return {"from": f"{now - HOUR:%H:%M}", "until": f"{now + ends_in:%H:%M}", "timeZone": "UTC"}


def test_what_is_not_urgent_waits_for_the_morning_and_comes_as_one_message(task: Task, channels: Channels) -> None:
    task.project.escalation = {"quietHours": now_is_quiet()}
    task.project.save()
    channel("slack")
    for n in range(5):
        ask(task, f"job:{n}", priority=Priority.ACTION, question=f"job {n}?")
    ask(task, "agent-stuck:1", question="Stuck.")
    channels.carry()
    assert [notice.title for _, notice in channels.told] == ["app#1: Stuck."]
    assert InboxItem.objects.filter(person__username="ada").count() == 6
    let_pass(2 * HOUR + MINUTE)
    channels.carry()
    morning = channels.told[-1][1]
    assert len(channels.told) == 2
    assert (morning.event, morning.title) == ("digest", "5 things wait for people")


def test_a_persons_own_channel_keeps_that_persons_quiet_hours(
    task: Task, people: tuple[User, User, User], channels: Channels
) -> None:
    quiet = now_is_quiet()
    QuietTime.objects.create(person=people[0], start=quiet["from"], end=quiet["until"])
    channel("hers", person=people[0])
    channel("everybodys")
    channel("anothers", person=people[1])
    ask(task, priority=Priority.ACTION)
    channels.carry()
    assert channels.names() == ["everybodys"]
    let_pass(15 * MINUTE)
    sweeps.call_again()
    channels.carry()
    assert channels.names() == ["anothers", "everybodys", "everybodys"]


# --- A thousand ---------------------------------------------------------------------------------------------------------------------------


def a_thousand(task: Task) -> None:
    made = [
        tasks.submit(project=task.project, title=f"Task {n}", actor=Actor(name="ada", at=timezone.now()))[0]
        for n in range(250)
    ]
    for one in made:
        asks = [
            Interrupt(
                trigger=None, cause=f"reason:{n}", priority=Priority.URGENT, escalation=True, question=f"Reason {n}"
            )
            for n in range(4)
        ]
        promises.promise(asks, task=one, now=timezone.now())


def hooks(good: Receiver, hanging: str) -> None:
    channel("good", plugin="webhook", config={"url": good.url, "secret": "s"})
    channel("hanging", plugin="webhook", config={"url": hanging, "secret": "s"})
    channel("dead", plugin="webhook", config={"url": nobody(), "secret": "s"})


def test_a_thousand_messages_with_one_channel_hanging_and_one_dead_reach_the_good_one_and_delay_no_other_work(
    task: Task,
) -> None:
    with receiver() as good, mute() as hanging:
        hooks(good, hanging)
        a_thousand(task)
        assert Notification.objects.count() == 3000
        post = Post()
        began = time.monotonic()
        post.round(toolbox.real())
        until(lambda: not Notification.objects.waiting().filter(channel__name="good").exists())
        told_after = time.monotonic() - began
        assert told_after < 10
        # The hanging one is still being waited for; other work does not notice.
        hung = NotificationChannel.objects.get(name="hanging")
        assert Job.objects.filter(queue=hung.queue, state="claimed").exists()
        worked = time.monotonic()
        asked = ask(task)
        promises.promise([ReadIssue(reference="#1", attempt=0)], task=task, now=timezone.now())
        assert runner.run_due(queues=["control", "effects"], tools=toolbox.real()) == 1
        assert time.monotonic() - worked < 2
        assert InboxItem.objects.filter(interruption=asked, person__username="ada").exists()
        post.wait()
        messages = [one.told for one in good.taken]
        assert len(messages) <= 11
        named = {(f"Reason {n}", f"app#{number}") for n in range(4) for number in range(2, 252)}
        lines = [line for message in messages for line in f"{message['title']}\n{message['body']}".splitlines()]
        assert all(any(reason in line and place in line for line in lines) for reason, place in named)
        assert Notification.objects.waiting().filter(channel__name="hanging").count() == 1001
        assert Notification.objects.waiting().filter(channel__name="dead").count() == 1001


def test_a_call_that_hangs_for_ever_costs_one_thread_and_comes_back_in_time() -> None:
    deadlines, release = Deadlines(), threading.Event()
    began = time.monotonic()
    with pytest.raises(Unavailable, match=r"did not answer within 0\.1 s"):
        deadlines.within(0.1, of="the channel x", act=lambda: (release.wait(30), None)[1])
    with pytest.raises(Unavailable, match="has not come back yet"):
        deadlines.within(30, of="the channel x", act=lambda: None)
    assert time.monotonic() - began < 5
    release.set()
    until(lambda: not [t for t in threading.enumerate() if t.name == "call-the channel x"])
    deadlines.within(30, of="the channel x", act=lambda: None)


def test_what_trickles_in_is_no_flood_either(task: Task, channels: Channels) -> None:
    channel("slack")
    for n in range(25):
        ask(task, f"job:{n}", question=f"job {n}?")
        channels.carry()
    assert len(channels.told) == 10
    let_pass(MINUTE)
    channels.carry()
    assert (len(channels.told), channels.told[-1][1].title) == (11, "15 things wait for people")
    assert all(f"job {n}?" in channels.told[-1][1].body for n in range(10, 25))


def test_whatever_a_library_trips_over_costs_no_message(task: Task, channels: Channels) -> None:
    channel("one")
    ask(task)
    channels.fails["one"] = ValueError("not what I expected")
    channels.carry()
    row = Notification.objects.get()
    assert (row.state, row.error) == ("failing", "the channel one: ValueError")
