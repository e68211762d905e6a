"""What was seen outside becomes rows once, whoever reports it, in whatever order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from orchestrator.models import Check, Comment, Event, Host, Job, Message, PullRequest, Review, Session, Task, Turn
from orchestrator.ports import (
    Activity,
    AgentEvent,
    CheckSeen,
    CommentSeen,
    Confirmed,
    NeedsInput,
    PullRequestSeen,
    PullState,
    ReviewSeen,
    RunEnd,
    RunState,
    Said,
    Started,
    TurnDone,
    Usage,
)
from orchestrator.services import observations, projects, pull_requests, sessions, tasks, transcripts
from orchestrator.services.events import Actor
from orchestrator.services.sessions import Overtaken
from tests.lab import together

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def turn() -> Turn:
    host = projects.local_host(name="local", capacity=5)
    actor = Actor(name="ada", at=timezone.now())
    project, _ = projects.register(
        key="app", name="App", remote="/nowhere", default_branch="main", agent="command", actor=actor
    )
    task, _ = tasks.submit(project=project, title="Fix it", actor=actor)
    session = Session.objects.create(task=task, epoch=1, host=host, agent="command", prepared_at=timezone.now())
    return Turn.objects.create(
        session=session, n=1, prompt="", started_at=timezone.now(), progress_at=timezone.now() - timedelta(hours=1)
    )


def _progress(turn: Turn, offset: int, data: bytes, *heard: AgentEvent) -> Task | None:
    return observations.turn_progressed(
        turn_id=turn.pk,
        offset=offset,
        data=data,
        parsed_to=offset,
        heard=heard,
        now=timezone.now(),
    )


def _ended(turn: Turn, *, size: int = 0, end: RunEnd = RunEnd.EXITED, code: int | None = 0) -> RunState:
    return RunState(
        id=turn.run_id,
        fence="f",
        epoch=1,
        live=False,
        end=end,
        exit_code=code,
        signal=None,
        size=size,
        dropped=0,
        started_at=None,
        ended_at=None,
    )


def _seen(task: Task, **more: object) -> PullRequestSeen:
    base = PullRequestSeen(
        number=1,
        url="/1",
        state=PullState.OPEN,
        branch=task.branch,
        base_branch="main",
        head_sha="a" * 40,
        base_sha="b" * 40,
        mergeable=True,
        conflict_files=(),
        merged_sha=None,
        required_checks=None,
        checks=(),
        reviews=(),
        comments=(),
        observed_at=timezone.now(),
    )
    return replace(base, **more)  # type: ignore[arg-type]


def _record(task: Task, seen: PullRequestSeen) -> PullRequest:
    return pull_requests.record(task=task, seen=seen, now=timezone.now())


def test_a_journal_has_neither_gap_nor_double_whoever_reports_it(turn: Turn) -> None:
    together(*[lambda: _progress(turn, 0, b"one ") for _ in range(6)])
    assert _progress(turn, 10, b"after a gap") is None
    assert _progress(turn, 4, b"two") is not None
    assert transcripts.read(run=turn.run_id) == (b"one two", 7)
    assert transcripts.read(run=turn.run_id, after=2, cap=3) == (b"e t", 5)


def test_what_an_agent_says_is_kept_and_shows_progress(turn: Turn) -> None:
    _progress(turn, 0, b"x", Said(text="hello \x1b[31mred"), Usage(input_tokens=2, output_tokens=3, cost_usd=0.5))
    _progress(turn, 1, b"y", Usage(input_tokens=2))
    turn.refresh_from_db()
    assert (turn.last_words, turn.input_tokens, turn.output_tokens, float(turn.cost_usd)) == ("hello red", 4, 3, 0.5)
    assert timezone.now() - turn.progress_at < timedelta(seconds=10)


def test_a_question_that_is_repeated_is_asked_once(turn: Turn) -> None:
    asked = NeedsInput(id="q", kind="question", question="Which?")
    _progress(turn, 0, b"x", asked)
    _progress(turn, 1, b"y", asked)
    assert Event.objects.filter(kind="agent.asked").count() == 1


def test_a_flood_of_questions_is_asked_up_to_a_number_that_somebody_may_answer(turn: Turn) -> None:
    flood = [NeedsInput(id=str(n), kind="question", question="Which?") for n in range(1000)]
    _progress(turn, 0, b"x", *flood)
    turn.refresh_from_db()
    assert turn.request is not None
    assert [turn.request["id"], *(asked["id"] for asked in turn.requests_behind)] == [str(n) for n in range(21)]


def test_a_turn_that_dies_before_its_sum_is_told_has_used_what_its_requests_came_to(turn: Turn) -> None:
    first, second = (Usage(input_tokens=n, output_tokens=1, request=f"msg_{n}") for n in (10, 30))
    _progress(turn, 0, b"x", first)
    _progress(turn, 1, b"x", first, second, second)  # with every piece of an answer
    turn.refresh_from_db()
    assert (turn.input_tokens, turn.output_tokens) == (40, 2)
    _progress(turn, 2, b"x", Usage(input_tokens=45, output_tokens=9, cost_usd=0.2, so_far=True))
    turn.refresh_from_db()
    assert (turn.input_tokens, turn.output_tokens, float(turn.cost_usd)) == (45, 9, 0.2)


def test_a_sum_takes_the_place_of_what_was_counted_too_often(turn: Turn) -> None:
    for n, request in enumerate(("msg_a", "msg_b", "msg_a")):  # pieces of two answers at once
        _progress(turn, n, b"x", Usage(input_tokens=10, output_tokens=5, request=request))
    _progress(turn, 3, b"x", Usage(input_tokens=20, output_tokens=9, so_far=True))
    _progress(turn, 4, b"x", Usage(so_far=True))
    turn.refresh_from_db()
    assert (turn.input_tokens, turn.output_tokens) == (20, 9)


def test_figures_of_a_whole_run_are_not_added_up_and_others_are(turn: Turn) -> None:
    _progress(turn, 0, b"x", Usage(input_tokens=10, output_tokens=1, cost_usd=0.22, so_far=True))
    _progress(turn, 1, b"x", Usage(input_tokens=25, output_tokens=2, cost_usd=0.44, so_far=True))
    _progress(turn, 2, b"x", Usage(so_far=True))
    turn.refresh_from_db()
    assert (turn.input_tokens, turn.output_tokens, float(turn.cost_usd)) == (25, 2, 0.44)
    _progress(turn, 3, b"x", Usage(input_tokens=1, output_tokens=1, cost_usd=0.01))
    turn.refresh_from_db()
    assert (turn.input_tokens, turn.output_tokens, float(turn.cost_usd)) == (26, 3, 0.45)


def test_what_was_heard_last_counts_in_the_order_in_which_it_was_said(turn: Turn) -> None:
    _progress(
        turn, 0, b"x", Activity(tool="a", summary=""), TurnDone(ok=False, why="no"), Activity(tool="b", summary="c")
    )
    turn.refresh_from_db()
    assert (turn.done_at, turn.done_ok, turn.activity) == (None, True, "b c")
    _progress(turn, 1, b"x", TurnDone(ok=True, why="yes"), Activity(tool="c", summary=""), TurnDone(ok=False, why="no"))
    turn.refresh_from_db()
    assert (turn.done_at is not None, turn.done_ok, turn.last_words) == (True, False, "no")


def test_an_echo_of_somebody_elses_message_confirms_nothing(turn: Turn) -> None:
    message = tasks.send(task=turn.session.task, text="hello", actor=Actor(name="ada"))
    _progress(turn, 0, b"x", Confirmed(message=str(message.pk)))
    message.refresh_from_db()
    assert message.confirmed_at is None


def test_an_echo_of_something_that_is_no_id_is_no_error(turn: Turn) -> None:
    assert _progress(turn, 0, b"x", Confirmed(message="not an id")) is not None


@pytest.mark.parametrize(
    "event",
    [
        Started(native_id="\x00\ud800" + "x" * 500),
        Activity(tool="\x00", summary="\udfff" * 400),
        Said(text="\ud800\x00\x1b]52;c;eA==\x07"),
        NeedsInput(id="\x00\ud800" * 300, kind="question", question="\x00\ud800", options=("\x00",)),
        NeedsInput(
            id="q", kind="permission", question="?", context={"\x00": ["\ud800", {"\udfff": 1.5}], "b": float("nan")}
        ),
        Usage(input_tokens=10**12, output_tokens=10**12, cost_usd=1e12),
    ],
)
def test_whatever_an_agent_says_can_be_kept(turn: Turn, event: AgentEvent) -> None:
    assert _progress(turn, 0, b"\x00\xff", event) is not None
    assert _progress(turn, 2, b"x", event) is not None


def test_a_turn_ends_when_all_of_its_journal_is_here_and_once(turn: Turn) -> None:
    state = _ended(turn, size=3)
    assert observations.turn_ended(turn_id=turn.pk, state=state, now=timezone.now()) is None
    _progress(turn, 0, b"all")
    ends: list[Task | None] = []
    together(
        *[
            lambda: ends.append(observations.turn_ended(turn_id=turn.pk, state=state, now=timezone.now()))
            for _ in range(5)
        ]
    )
    assert len([end for end in ends if end is not None]) == 1
    assert Event.objects.filter(kind="turn.ended").count() == 1
    assert _progress(turn, 3, b"late") is None


@pytest.mark.parametrize(
    ("end", "code", "word"),
    [
        (RunEnd.EXITED, 0, "finished"),
        (RunEnd.EXITED, 2, "failed"),
        (RunEnd.EXITED, None, "killed"),
        (RunEnd.LOST, None, "killed"),
        (RunEnd.DEADLINE, None, "killed"),
        (RunEnd.STOPPED, None, "stopped"),
    ],
)
def test_how_a_run_ended_is_how_its_turn_did(turn: Turn, end: RunEnd, code: int | None, word: str) -> None:
    observations.turn_ended(turn_id=turn.pk, state=_ended(turn, end=end, code=code), now=timezone.now())
    turn.refresh_from_db()
    assert turn.end == word


def test_an_older_look_at_a_pull_request_changes_nothing(turn: Turn) -> None:
    task = turn.session.task
    now = timezone.now()
    _record(task, _seen(task, head_sha="c" * 40, observed_at=now))
    _record(task, _seen(task, head_sha="a" * 40, observed_at=now - timedelta(seconds=5)))
    assert PullRequest.objects.get().head_sha == "c" * 40


def test_what_was_merged_stays_merged_whatever_a_slow_look_still_shows(turn: Turn) -> None:
    task = turn.session.task
    _record(task, _seen(task))
    _record(task, _seen(task, state=PullState.MERGED, merged_sha="d" * 40))
    _record(task, _seen(task, state=PullState.OPEN))
    pull = PullRequest.objects.get()
    assert (pull.state, pull.merged_sha, pull.merged_head) == ("merged", "d" * 40, "a" * 40)
    assert Event.objects.filter(kind="pull_request.merged").count() == 1


def test_a_merge_of_ours_is_written_down_once_and_no_look_from_before_takes_it_back(turn: Turn) -> None:
    task = turn.session.task
    before = _seen(task)
    _record(task, before)
    first = timezone.now()
    for later in range(2):
        at = first + timedelta(seconds=later)
        pull_requests.merged(task=task, number=1, head_sha="a" * 40, sha="c" * 40, now=at)
    _record(task, before)
    pull = PullRequest.objects.get()
    assert (pull.state, pull.merged_head, pull.merged_sha, pull.merged_at) == ("merged", "a" * 40, "c" * 40, first)
    assert list(Event.objects.filter(kind="pull_request.merged").values_list("text", flat=True)) == ["!1 is merged"]
    task.refresh_from_db()
    assert task.wake_at == first


def test_the_same_observation_from_everywhere_at_once_is_one_pull_request(turn: Turn) -> None:
    task = turn.session.task
    comment = CommentSeen(
        id="c1",
        thread="t1",
        author="grace",
        body="why?",
        path="a.py",
        line=3,
        created_at=timezone.now(),
        resolved=False,
        trusted=True,
    )
    check = CheckSeen(id="k1", name="ci", head_sha="a" * 40, status="completed", conclusion="failure")
    seen = _seen(task, checks=(check,), comments=(comment,))
    together(*[lambda: _record(task, seen) for _ in range(6)])
    assert (PullRequest.objects.count(), Check.objects.count(), Comment.objects.count()) == (1, 1, 1)
    assert Event.objects.filter(kind="pull_request.opened").count() == 1


def test_a_rerun_of_a_check_is_its_next_number(turn: Turn) -> None:
    task = turn.session.task
    first = CheckSeen(id="k1", name="ci", head_sha="a" * 40, status="completed", conclusion="failure")
    again = replace(first, id="k2", conclusion="success")
    _record(task, _seen(task, checks=(first, again)))
    _record(task, _seen(task, checks=(first, again)))
    assert list(Check.objects.order_by("n").values_list("n", "conclusion")) == [(1, "failure"), (2, "success")]


def test_a_check_whose_run_was_lost_says_nothing_about_the_change_and_is_run_again(turn: Turn) -> None:
    task = turn.session.task
    pull = _record(task, _seen(task))
    for n in (1, 2, 3):
        check, _ = Check.objects.get_or_create(
            pull_request=pull, name="ci", head_sha=pull.head_sha, n=n, defaults={"status": "in_progress"}
        )
        state = _ended(turn, end=RunEnd.LOST, code=None)
        observations.check_ended(check_id=check.pk, state=state, log="", now=timezone.now())
        observations.check_ended(check_id=check.pk, state=state, log="", now=timezone.now())
    assert list(Check.objects.order_by("n").values_list("conclusion", flat=True)) == ["cancelled"] * 3
    assert Job.objects.filter(verb="RunCheck").count() == 2


def test_nothing_is_reported_of_a_session_that_has_ended(turn: Turn) -> None:
    Session.objects.update(ended_at=timezone.now(), end_reason="fenced")
    with pytest.raises(Overtaken, match="fenced"):
        sessions.begin_turn(session_id=turn.session_id, n=2, now=timezone.now())
    with pytest.raises(Overtaken):
        sessions.prepared(session_id=turn.session_id, base_sha="a" * 40, path="/", now=timezone.now())
    with pytest.raises(Overtaken):
        sessions.intend_push(session_id=turn.session_id, new_sha="a" * 40, now=timezone.now())


def test_a_host_that_is_back_is_not_silent_any_more(turn: Turn) -> None:
    host = turn.session.host
    observations.host_silent(host=host, now=timezone.now(), trouble="connection refused")
    assert Host.objects.get().silent_since is not None
    observations.host_seen(host=host, now=timezone.now(), boot_id="b", boottime=1.0, free_bytes=1)
    row = Host.objects.get()
    assert (row.silent_since, row.trouble) == (None, "")


def _said(body: str, **more: object) -> CommentSeen:
    return replace(
        CommentSeen(
            id="c1", thread="t1", author="grace", body=body, path="a.py", line=1, created_at=timezone.now(), resolved=False,
            trusted=True, bot=False, ours=False,
        ),
        **more,
    )  # type: ignore[arg-type]  # a test names the fields  # fmt: skip


def test_words_that_are_changed_after_they_were_told_are_to_be_told_again_and_history_says_so(turn: Turn) -> None:
    task = turn.session.task
    _record(task, _seen(task, comments=(_said("rename this"),)))
    _record(task, _seen(task, comments=(_said("rename that"),)))
    assert (Comment.objects.get().edits, Comment.objects.get().body) == (0, "rename that")  # nobody had been told
    message = Message.objects.create(task=task, session=turn.session, key="k", occasion="o", text="x")
    Comment.objects.update(message=message)
    for _ in range(2):
        _record(task, _seen(task, comments=(_said("rename those"),)))
    told = Comment.objects.get()
    assert (told.message_id, told.edits, told.body) == (None, 1, "rename those")
    (line,) = Event.objects.filter(kind="review.edited")
    assert (line.text, line.data["before"]) == ("grace changed what they had said: rename those", "rename that")


@pytest.mark.parametrize(("decision", "edits"), [("approve", 1), ("request_changes", 0)])
def test_an_approval_is_taken_back_by_changing_its_words_whether_it_was_told_or_not(
    turn: Turn, decision: str, edits: int
) -> None:
    task = turn.session.task
    given = ReviewSeen(
        id="r1", author="grace", decision=decision, head_sha="a" * 40, body="Go.", submitted_at=timezone.now(), trusted=True, bot=False
    )  # fmt: skip
    _record(task, _seen(task, reviews=(given,)))
    _record(task, _seen(task, reviews=(replace(given, body="Wait."),)))
    assert Review.objects.get().edits == edits
