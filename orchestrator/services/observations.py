"""What was seen outside becomes rows: journals of runs by offset, and their ends. Whoever reports twice changes nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Q, TextField
from django.db.models.functions import Cast, Length

from orchestrator.domain.actions import RunCheck, Say, key_of
from orchestrator.domain.failures import Failure, failure_of
from orchestrator.domain.prompts import one_line, plain
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.models import (
    BaseCheck,
    Check,
    HookRun,
    Host,
    Job,
    JournalChunk,
    Session,
    Task,
    Turn,
    Workspace,
)
from orchestrator.ports import (
    Activity,
    AgentEvent,
    Confirmed,
    HostFacts,
    NeedsInput,
    RunEnd,
    RunState,
    Said,
    Started,
    TurnDone,
    Usage,
)
from orchestrator.services import alerts, events, flakes, promises

_MOST_USD = Decimal(999_999)  # what the column holds
_MOST_TOKENS = 10**15
_CONVERSATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")
LAST_WORDS = 8000  # characters of an agent's last message, which may answer many threads
MOST_REQUESTS = 20  # questions of one turn that are open at once
CHECK_RUNS = 3  # how often a check whose run was lost is run at one head


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A run that we want to hear of, and how much of its journal we have."""

    run: str
    agent: str  # empty: not an agent's run
    cursor: int
    parsed_to: int
    started: bool = True  # the host has said that it has it


def watched_runs(*, host: Host) -> list[Watched]:
    """The runs of a host whose end we have not seen: live turns, running checks, and postCreate commands."""
    turns = Turn.objects.filter(session__host=host, ended_at__isnull=True).select_related("session")
    runs = [
        Watched(
            run=turn.run_id,
            agent=turn.session.agent,
            cursor=turn.journal_size,
            parsed_to=turn.parsed_to,
            started=turn.started_at is not None,
        )
        for turn in turns
    ]
    if host.kind == Host.Kind.LOCAL:
        checks = Check.objects.filter(status="in_progress", pull_request__project__scm__plugin="local")
        runs += [
            Watched(run=check.run_id, agent="", cursor=_journal_size(check.run_id), parsed_to=0) for check in checks
        ]
        on_base = BaseCheck.objects.filter(status="in_progress", external_id="")
        runs += [
            Watched(run=check.run_id, agent="", cursor=_journal_size(check.run_id), parsed_to=0) for check in on_base
        ]
    hooks = HookRun.objects.filter(session__host=host, started_at__isnull=False, ended_at__isnull=True)
    runs += [Watched(run=hook.run_id, agent="", cursor=_journal_size(hook.run_id), parsed_to=0) for hook in hooks]
    for session in (
        Session.objects.live()
        .filter(host=host, prepared_at__isnull=True, workspace__state=Workspace.State.PREPARING)
        .select_related("task")
    ):
        run = setup_run(session)
        if session.jobs.filter(verb="Prepare", state="done").exists():
            runs.append(Watched(run=run, agent="", cursor=_journal_size(run), parsed_to=0))
    return runs


def setup_run(session: Session) -> str:
    """The id of the run of a project's postCreate commands, one for each attempt."""
    return f"setup-{session.pk}-{session.task.attempt}"


def _journal_size(run: str) -> int:
    chunks = JournalChunk.objects.filter(run=run).order_by("-offset")
    return chunks.annotate(end=F("offset") + Length("data")).values_list("end", flat=True).first() or 0


@transaction.atomic
def host_seen(
    *, host: Host, now: datetime, boot_id: str, boottime: float, free_bytes: int, facts: HostFacts | None = None
) -> None:
    """A look at the host was received. Deadlines of runs are counted from its own clock as this look saw it."""
    # Of a machine with a worker of its own it is somebody else who noticed the silence.
    came_back = host.silent_since is not None or Host.objects.filter(pk=host.pk, silent_since__isnull=False).exists()
    host.seen_at, host.silent_since, host.trouble, host.boot_id = now, None, "", boot_id
    host.facts = {
        **host.facts,
        "boottime": boottime,
        "free_bytes": free_bytes,
        **(_facts(facts) if facts is not None else {}),
    }
    host.save(update_fields=["seen_at", "silent_since", "trouble", "boot_id", "facts"])
    if came_back:
        _look_again(host, now)


def _facts(facts: HostFacts) -> dict[str, object]:
    return {
        "hostkit": facts.hostkit,
        "root": facts.root,
        "git": facts.git,
        "sandboxes": sorted(facts.sandboxes),
        "programs": dict(facts.programs),
        "home": facts.home,
    }


@transaction.atomic
def host_silent(*, host: Host, now: datetime, trouble: str) -> None:
    """A look failed. Nothing of its sessions is judged: what cannot be seen is held."""
    first = host.silent_since is None
    host.silent_since, host.trouble = host.silent_since or now, trouble
    alerts.host_still_silent(host=host, now=now)
    host.save(update_fields=["silent_since", "trouble", "facts"])
    if first:
        _look_again(host, now)


def _look_again(host: Host, now: datetime) -> None:
    for task_id in Session.objects.live().filter(host=host).values_list("task_id", flat=True):
        events.look_again(task_id=task_id, at=now)


@transaction.atomic
def append_journal(*, run: str, offset: int, data: bytes) -> bool:
    """Append bytes to what we have of a journal. False: they do not follow on what we have, so they are asked for again."""
    if _journal_size(run) != offset:
        return False
    JournalChunk.objects.create(run=run, offset=offset, data=data)
    return True


@transaction.atomic
def turn_progressed(
    *, turn_id: int, offset: int, data: bytes, parsed_to: int, heard: Sequence[AgentEvent], now: datetime
) -> Task | None:
    """Append to a turn's journal and take in what the agent said in it. None: the bytes do not follow on what we have."""
    if heard:
        Task.objects.filter(sessions__turns=turn_id).update(wake_at=now)
    turn = Turn.objects.select_for_update(of=("self",)).select_related("session__task__project").get(pk=turn_id)
    if turn.journal_size != offset or turn.ended_at is not None:
        return None
    JournalChunk.objects.create(run=turn.run_id, offset=offset, data=data)
    turn.journal_size = offset + len(data)
    turn.parsed_to = parsed_to
    turn.progress_at = now
    for event in _telling(heard):
        _hear(turn, event, now=now)
    turn.save()
    return turn.session.task


def _telling(heard: Sequence[AgentEvent]) -> list[AgentEvent]:
    """The last of each kind, of each question and of each message that is confirmed, in the order in which they were heard last: an agent
    that repeats itself a million times costs one row."""
    last: dict[object, AgentEvent] = {}
    for place, event in enumerate(heard):
        kind = _kind(event, place)
        last.pop(kind, None)
        last[kind] = event
    return list(last.values())


def _kind(event: AgentEvent, place: int) -> object:
    match event:
        case Usage():
            return place  # these are added up
        case Confirmed(message=name) | NeedsInput(id=name):
            return type(event), name
        case _:
            return type(event)


def _hear(turn: Turn, event: AgentEvent, *, now: datetime) -> None:
    if not isinstance(event, Started | Usage):
        # Whatever it does after it said that it was done belongs to a turn that goes on.
        turn.done_at, turn.done_ok = None, True
    match event:
        case Started(native_id=native_id):
            # It becomes an argument of the agent's next program.
            known = native_id if native_id and _CONVERSATION.fullmatch(native_id) else ""
            Session.objects.filter(pk=turn.session_id).update(native_id=known)
        case Activity(tool=tool, summary=summary):
            turn.activity = _words(f"{tool} {summary}", 200)
        case Said(text=text):
            turn.last_words = _words(text, LAST_WORDS)
        case NeedsInput():
            _asked(turn, event, now=now)
        case Usage():
            _count(turn, event)
        case TurnDone(ok=ok, why=why):
            turn.done_at, turn.done_ok = now, ok
            turn.last_words = _words(why, LAST_WORDS) or turn.last_words
        case Confirmed(message=message):
            _echoed(turn, _words(message, 40), now=now)


def _echoed(turn: Turn, name: str, *, now: datetime) -> None:
    """The agent has read a message of its turn, or one that somebody was about to put into it and that is not known to be there yet."""
    mine = Q(turn=turn)
    key = key_of(Say(session=turn.session_id, turn=turn.n, message=name))
    if Job.objects.filter(key=f"{turn.session.task_id}:{key}", claims__gt=0).exists():
        mine |= Q(turn__isnull=True)
    unread = turn.session.task.messages.annotate(name=Cast("pk", TextField())).filter(
        mine, name=name, confirmed_at__isnull=True
    )
    unread.filter(delivered_at__isnull=True).update(delivered_at=now, deliveries=F("deliveries") + 1)
    unread.update(turn=turn, session=turn.session, confirmed_at=now)


def _count(turn: Turn, used: Usage) -> None:
    """A turn is one run: what an agent tells as the run's sum so far is the turn's, and never less than what was known of such sums. A
    turn that died before it told one keeps what its requests came to."""
    cost = Decimal(str(used.cost_usd))
    if used.request and used.request == turn.counted_request:
        return
    if used.so_far and turn.counted_request and used.input_tokens:
        turn.input_tokens, turn.output_tokens = 0, 0
        turn.counted_request = ""
    if used.request:
        turn.counted_request = _words(used.request, 100)
    if used.so_far:
        turn.input_tokens = min(max(turn.input_tokens, used.input_tokens), _MOST_TOKENS)
        turn.output_tokens = min(max(turn.output_tokens, used.output_tokens), _MOST_TOKENS)
        turn.cost_usd = min(max(Decimal(turn.cost_usd), cost), _MOST_USD)
    else:
        turn.input_tokens = min(turn.input_tokens + used.input_tokens, _MOST_TOKENS)
        turn.output_tokens = min(turn.output_tokens + used.output_tokens, _MOST_TOKENS)
        turn.cost_usd = min(Decimal(turn.cost_usd) + cost, _MOST_USD)


def _words(text: str, cap: int) -> str:
    """An agent's words as they can be stored and shown, whatever it sent: the last `cap` characters."""
    return plain(text.encode(errors="replace").decode())[-cap:]


def _asked(turn: Turn, event: NeedsInput, *, now: datetime) -> None:
    """One question is open at a time; what is asked meanwhile comes after it, up to a number that nobody would answer."""
    request_id = _words(event.id, 200)
    known = [*([turn.request] if turn.request is not None else []), *turn.requests_behind]
    if any(asked["id"] == request_id for asked in known) or len(known) > MOST_REQUESTS:
        return
    question = _words(event.question, 4000)
    request = {
        "id": request_id,
        "kind": event.kind,
        "question": question,
        "options": [_words(option, 200) for option in event.options[:20]],
        "context": _storable(dict(event.context)),
        "asked_at": now.isoformat(),
    }
    if turn.request is None or "answer" in turn.request:
        turn.request = request
    else:
        turn.requests_behind = [*turn.requests_behind, request]
    events.record(kind="agent.asked", text=f"the agent asks: {question[:200]}", task=turn.session.task, at=now)


def _storable(value: object) -> object:
    """JSON as the database can hold it: what an agent sent may have characters that no text can."""
    match value:
        case str():
            return value.replace("\x00", "").encode(errors="replace").decode()
        case dict():
            return {str(_storable(name)): _storable(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_storable(inner) for inner in value]
        case float() if not math.isfinite(value):
            return None
        case _:
            return value


@transaction.atomic
def turn_ended(*, turn_id: int, state: RunState, now: datetime, tells_its_end: bool = False) -> Task | None:
    """The turn's run is over and its journal is complete. None: it had been recorded, or bytes are still to come. Words that were said into
    it and that its agent did not read wait for the next turn."""
    Task.objects.filter(sessions__turns=turn_id).update(wake_at=now)
    turn = Turn.objects.select_for_update(of=("self",)).select_related("session__task__project").get(pk=turn_id)
    if turn.ended_at is not None or turn.journal_size < state.size:
        return None
    if state.end is RunEnd.UNSTARTABLE and turn.started_at is None:
        return None  # whoever started it says so, with the way out
    turn.started_at = turn.started_at or now
    turn.ended_at = now
    turn.end, turn.detail = _judged(turn, state, tells_its_end=tells_its_end)
    turn.exit_code, turn.dropped, turn.progress_at = state.exit_code, state.dropped, now
    turn.save()
    turn.messages.filter(delivered_at__isnull=False, confirmed_at__isnull=True).update(
        turn=None, delivered_at=None, deliveries=0
    )
    text = f"turn {turn.n} ended: {turn.detail}"
    events.record(
        kind="turn.ended",
        text=text,
        task=turn.session.task,
        at=now,
        data={"end": turn.end, "exit_code": state.exit_code},
    )
    return turn.session.task


def _judged(turn: Turn, state: RunState, *, tells_its_end: bool) -> tuple[TurnEnd, str]:
    """How the turn ended and in which words: the run's end, and what the agent said of its turn or ought to have said."""
    end, detail = turn_end(state), _detail(state)
    failed = TurnEnd.FAILED if end is TurnEnd.FINISHED else end
    if not turn.done_ok:
        return failed, f"{detail}: {one_line(turn.last_words)}"
    if tells_its_end and turn.done_at is None and end is TurnEnd.FINISHED:
        return failed, f"{detail}, in the middle of its turn"
    return end, detail


def turn_end(state: RunState) -> TurnEnd:
    """How a turn ended, from how its run did."""
    match state.end:
        case RunEnd.EXITED if state.exit_code == 0:
            return TurnEnd.FINISHED
        case RunEnd.EXITED if state.exit_code is not None:
            return TurnEnd.FAILED
        case RunEnd.STOPPED:
            return TurnEnd.STOPPED
        case RunEnd.UNSTARTABLE:
            return TurnEnd.UNSTARTABLE
        case _:
            return TurnEnd.KILLED


def _detail(state: RunState) -> str:
    match state.end:
        case RunEnd.EXITED if state.exit_code is not None:
            return f"exit code {state.exit_code}"
        case RunEnd.EXITED:
            return f"ended by signal {state.signal}"
        case RunEnd.DEADLINE:
            return "its deadline passed"
        case RunEnd.LOST:
            return "its guard was lost"
        case RunEnd.STOPPED:
            return "stopped"
        case _:
            return state.detail or "could not be started"


@transaction.atomic
def check_ended(*, check_id: int, state: RunState, log: str, now: datetime) -> Task | None:
    """A check of the built-in forge is over. A lost or stopped run says nothing about the change: it is cancelled, and run again."""
    Task.objects.filter(pull_requests__checks=check_id).update(wake_at=now)
    check = Check.objects.select_for_update(of=("self",)).select_related("pull_request__task__project").get(pk=check_id)
    if check.status == "completed":
        return None
    judged = state.end is RunEnd.EXITED and state.exit_code is not None
    before, check.status, check.completed_at = check.conclusion, "completed", now
    if judged:
        check.conclusion = "success" if state.exit_code == 0 else "failure"
    else:
        check.conclusion = "timed_out" if state.end is RunEnd.DEADLINE else "cancelled"
    check.detail = _detail(state)
    failure = failure_of(log) if check.conclusion != "success" else Failure()
    check.failing_log, check.fingerprint, check.headline = failure.part, failure.fingerprint, failure.headline
    check.save()
    flakes.went_green(check=check, before=before, now=now)
    task = check.pull_request.task
    if check.conclusion == "cancelled" and check.n < CHECK_RUNS and check.wanted:
        Check.objects.create(pull_request=check.pull_request, name=check.name, head_sha=check.head_sha, n=check.n + 1)
        promises.promise([RunCheck(name=check.name, head_sha=check.head_sha, n=check.n + 1)], task=task, now=now)
    events.record(
        kind="check.ended",
        text=f"{check.name}: {check.conclusion}",
        task=task,
        at=now,
        data={"head_sha": check.head_sha},
    )
    events.touch(task=task)
    return task
