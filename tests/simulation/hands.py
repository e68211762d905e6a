"""Workers: one generator per kind of job. Each `yield` is a place where the worker can die, or freeze and come back as a zombie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.domain.actions import (
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    HangUp,
    Merge,
    OpenPullRequest,
    Prepare,
    Publish,
    RerunChecks,
    RunBaseCheck,
    RunCheck,
    Say,
    StartTurn,
    StopAgent,
)
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobState, TurnEnd
from tests.simulation.outside import Broken, Refused, Run, Unavailable
from tests.simulation.rows import JobRow, SessionRow, TaskRow, TurnRow
from tests.simulation.world import World

FATES = ("commits", "commits", "commits", "commits", "nothing", "dies", "fails", "asks", "hangs", "unstartable")


class Overtaken(Exception):
    """Its session has ended: nothing may be done in its name."""


@dataclass(slots=True, kw_only=True)
class Flight:
    """One claim of one job, under way in one worker."""

    task: TaskRow
    job: JobRow
    claims: int
    steps: Iterator[None]
    frozen: bool = False


def take_off(world: World, task: TaskRow, job: JobRow) -> Flight:
    return Flight(task=task, job=job, claims=job.claims, steps=_carry_out(world, task, job))


def step(world: World, flight: Flight) -> bool:
    """Go on to the next place where it could die. False: it has landed."""
    task, job = flight.task, flight.job
    try:
        next(flight.steps)
    except StopIteration:
        world.settle(task, job, flight.claims, JobState.DONE)
    except Unavailable:
        world.postpone(task, job, flight.claims)
    except Refused as refused:
        world.settle(task, job, flight.claims, JobState.REFUSED, code=refused.code)
    except Overtaken:
        world.settle(task, job, flight.claims, JobState.DROPPED)
    else:
        return True
    return False


def _carry_out(world: World, task: TaskRow, job: JobRow) -> Iterator[None]:
    match job.action:
        case Prepare(session=number):
            return _prepare(world, task, number)
        case StartTurn(session=number, turn=n):
            return _start_turn(world, task, number, n)
        case Say() | HangUp() as talk:
            return _talk(world, task, talk)
        case Publish(session=number, turn=n):
            return _publish(world, task, number, n)
        case OpenPullRequest():
            return _open_pull(world, task)
        case RunCheck() | RunBaseCheck() | RerunChecks() as run:
            return _runs(world, task, run)
        case Merge(head_sha=sha):
            return _merge(world, task, sha)
        case StopAgent(session=number, turn=n):
            return _stop(world, task, number, n)
        case EndSession(session=number):
            return _end(world, task, number)
        case DeleteBranch(branch=branch, head_sha=sha):
            return _delete_branch(world, branch, sha)
        case ClosePullRequest(number=number):
            return _close(world, task, number)
        case _:
            raise Broken(f"nobody carries out {job.key}")


def _live(task: TaskRow, number: int) -> SessionRow:
    session = task.session(number)
    if session.ended:
        raise Overtaken
    return session


def _prepare(world: World, task: TaskRow, number: int) -> Iterator[None]:
    host = world.host(_live(task, number).host)
    yield
    host.call()
    if number not in host.workspaces and host.tombs.get(task.id, 0) < task.session(number).epoch:
        host.workspaces[number] = (task.session(number).published_sha, task.session(number).commits)
    yield
    _live(task, number).prepared = True


def _begin_turn(world: World, task: TaskRow, session: SessionRow, n: int) -> TurnRow:
    """The turn with all messages that wait, and with those of a turn that never reached the agent."""
    known = next((turn for turn in session.turns if turn.n == n), None)
    if known is not None:
        return known
    before = session.turns[-1] if session.turns else None
    waiting = [message for message in task.messages.values() if message.turn is None]
    if not waiting:
        raise Overtaken
    resumed = any(message.trigger is Trigger.AGENT_EXITED and message.episode == 0 for message in waiting)
    turn = TurnRow(
        n=n, created_at=world.now, resumes=before.resumes + 1 if before and resumed else 0, progress_at=world.now
    )
    for message in task.messages.values():
        unheard = before is not None and message.turn == (session.id, before.n) and not message.confirmed
        if message.turn is None or unheard:
            message.turn = (session.id, n)
    session.turns.append(turn)
    return turn


def _start_turn(world: World, task: TaskRow, number: int, n: int) -> Iterator[None]:
    session = _live(task, number)
    turn = _begin_turn(world, task, session, n)
    run = _planned(world, task, session, turn)
    yield
    host = world.host(session.host)
    host.call()
    run = host.runs.get(run.id) or _launch(world, task, run)
    yield
    if turn.end is None and run.fate == "unstartable":
        turn.end = TurnEnd.UNSTARTABLE
    elif not turn.started:
        turn.started, turn.progress_at = True, world.now
        for message in task.messages.values():
            message.confirmed = message.confirmed or message.turn == (session.id, n)
    world.touch(task)


def _planned(world: World, task: TaskRow, session: SessionRow, turn: TurnRow) -> Run:
    """The run as it will be asked for. Its deadline is as old as the look that the session lives: a zombie's has passed."""
    host = world.host(session.host)
    span = world.policy.reassign_after
    boot = host.boot if host.boot is not None else host.clock(world.now)
    fate = world.chance.choice(FATES)
    return Run(
        id=f"turn-{session.id}-{turn.n}",
        task=task.id,
        session=session.id,
        epoch=session.epoch,
        turn=turn.n,
        messages=tuple(m.id for m in task.messages.values() if m.turn == (session.id, turn.n)),
        deadline=boot + span.total_seconds() if span is not None else None,
        fate=fate,
        talks=fate in {"commits", "nothing"} and (session.id + turn.n) % 2 == 0,
    )


def _talk(world: World, task: TaskRow, talk: Say | HangUp) -> Iterator[None]:
    if isinstance(talk, Say):
        return _say(world, task, talk.session, talk.turn, talk.message)
    return _hang_up(world, task, talk.session, talk.turn)


def _say(world: World, task: TaskRow, number: int, n: int, name: str) -> Iterator[None]:
    """A zombie that comes back between the look and the act finds the input closed, or the message in it already."""
    session = _live(task, number)
    turn = next(turn for turn in session.turns if turn.n == n)
    message = next(message for message in task.messages.values() if message.id == name)
    if message.turn is not None or turn.end is not None or turn.done_at is not None:
        return
    yield
    host = world.host(session.host)
    host.call()
    run = host.runs.get(f"turn-{number}-{n}")
    if run is None or not run.talks or (name not in run.said and (run.end is not None or run.closed)):
        return
    if name not in run.said:
        run.said.append(name)
    yield
    if message.turn is None and turn.end is None:
        message.turn = (number, n)
        world.touch(task)


def _hang_up(world: World, task: TaskRow, number: int, n: int) -> Iterator[None]:
    session = _live(task, number)
    turn = next(turn for turn in session.turns if turn.n == n)
    unread = any(message.turn == (number, n) and not message.confirmed for message in task.messages.values())
    if turn.done_at is None or turn.end is not None or unread:
        return
    yield
    host = world.host(session.host)
    host.call()
    if (run := host.runs.get(f"turn-{number}-{n}")) is not None:
        run.closed = True


def _launch(world: World, task: TaskRow, run: Run) -> Run:
    host = world.host(task.session(run.session).host)
    world.parts.admit(host, run)
    if run.session not in host.workspaces:
        raise Refused("no-workspace")
    if run.deadline is not None and host.clock(world.now) >= run.deadline:
        raise Unavailable("its deadline has passed before it began")
    if run.fate == "unstartable":
        run.end = TurnEnd.UNSTARTABLE
    else:
        _only_one(world, task, run)
        for message in run.messages:
            world.conversation[message] = world.conversation.get(message, 0) + 1
    host.runs[run.id] = run
    world.log(f"task {task.id}: {run.id} starts on h{host.id}, it {run.fate}")
    return run


def _only_one(world: World, task: TaskRow, run: Run) -> None:
    for host in world.hosts:
        host.guard(world.now)
        for other in host.live():
            if other.task == task.id and other is not run:
                raise Broken(f"I3: {other.id} (epoch {other.epoch}) is alive while {run.id} (epoch {run.epoch}) starts")


def _publish(world: World, task: TaskRow, number: int, n: int) -> Iterator[None]:
    session = _live(task, number)
    host = world.host(session.host)
    host.call()
    turn = next(turn for turn in session.turns if turn.n == n)
    if number not in host.workspaces:
        raise Refused("no-workspace")
    head, commits = host.workspaces[number]
    if head and head != session.published_sha:
        yield
        # What the remote is expected at is read together with the look that the session lives and the turn is unpublished: a zombie's
        # push of what was overtaken meets another sha.
        session = _live(task, number)
        if turn.published:
            return
        there = world.forge.branches.get(task.branch, "")
        expected = there if there in task.intents else session.published_sha
        task.intents.add(head)
        yield
        world.forge.push(task.branch, expected=expected, new=head, now=world.now)
    yield
    session = _live(task, number)
    if not turn.published:
        turn.published, turn.produced = True, bool(head) and head != session.published_sha
        if head:
            session.published_sha, session.commits = head, commits
        world.observe(task)
        world.touch(task)


def _open_pull(world: World, task: TaskRow) -> Iterator[None]:
    yield
    pull = world.parts.find_pull(world.forge, task.branch)
    if pull is None:
        pull = world.forge.open(task.branch, now=world.now)
    yield
    task.pull = world.forge.facts(pull, world.now, task.told)
    world.touch(task)


def _run_check(world: World, task: TaskRow, name: str, n: int) -> Iterator[None]:
    yield
    for pull in world.forge.of_branch(task.branch):
        if pull.state == "open":
            world.forge.begin_check(pull, name, n)
    yield
    world.observe(task)


def _runs(world: World, task: TaskRow, run: RunCheck | RunBaseCheck | RerunChecks) -> Iterator[None]:
    match run:
        case RunCheck(name=name, n=n):
            return _run_check(world, task, name, n)
        case RunBaseCheck(name=name, base_sha=sha, n=n):
            return _run_base_check(world, sha, name, n)
        case RerunChecks(checks=ids):
            return _rerun(world, task, ids)


def _run_base_check(world: World, sha: str, name: str, n: int) -> Iterator[None]:
    yield
    world.forge.builds.ask(sha, name, n)
    yield


def _rerun(world: World, task: TaskRow, ids: tuple[int, ...]) -> Iterator[None]:
    yield
    for pull in world.forge.of_branch(task.branch):
        if pull.state == "open":
            world.forge.rerun(pull, ids)
    yield
    world.observe(task)


def _merge(world: World, task: TaskRow, sha: str) -> Iterator[None]:
    yield
    # The facts may have changed since it was promised: they are read and judged once more, next to the merge itself.
    world.observe(task)
    if task.pull is not None and task.pull.state == "open" and not _still_ready(world, task, sha):
        raise Refused("overtaken")
    for pull in world.forge.of_branch(task.branch):
        if task.pull is not None and pull.number == task.pull.number:
            world.forge.merge(pull, sha=sha)
    yield
    world.observe(task)
    world.touch(task)


def _still_ready(world: World, task: TaskRow, sha: str) -> bool:
    return task.pull is not None and task.pull.head_sha == sha and world.parts.still_ready(world.snapshot(task))


def _stop(world: World, task: TaskRow, number: int, n: int) -> Iterator[None]:
    host = world.host(_live(task, number).host)
    yield
    host.call()
    run = host.runs.get(f"turn-{number}-{n}")
    if run is not None and run.end is None:
        run.end = TurnEnd.STOPPED
    yield


def _end(world: World, task: TaskRow, number: int) -> Iterator[None]:
    session = task.session(number)
    host = world.host(session.host)
    yield
    host.call()
    host.end(task.id, session.epoch)
    host.workspaces.pop(number, None)
    yield
    session.ended = True
    for turn in session.turns:
        if turn.end is None:
            turn.end, turn.published = TurnEnd.STOPPED, True
    world.touch(task)


def _delete_branch(world: World, branch: str, sha: str) -> Iterator[None]:
    yield
    world.forge.before()
    there = world.forge.branches.get(branch)
    if there is not None and there != sha:
        raise Refused("head-moved")
    world.forge.branches.pop(branch, None)
    world.forge.after()


def _close(world: World, task: TaskRow, number: int) -> Iterator[None]:
    yield
    world.forge.before()
    for pull in world.forge.of_branch(task.branch):
        if pull.number == number and pull.state == "open":
            pull.state = "closed"
    world.forge.after()
    yield
    world.observe(task)
