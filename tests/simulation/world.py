"""The orchestrator over its in-memory database: reconcile, place, promise, claim, settle, observe; as the services do it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.domain import lifecycle, placement
from orchestrator.domain.actions import (
    Abandon,
    Action,
    ClosePullRequest,
    DeleteBranch,
    EndSession,
    Interrupt,
    SendToAgent,
    Settle,
    key_of,
)
from orchestrator.domain.backoff import backoff
from orchestrator.domain.lifecycle import Decision
from orchestrator.domain.placement import HostRoom, Placed, ProjectRoom, Waiting
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.snapshot import JobState, Policy, RequestFacts, Snapshot, TurnEnd
from orchestrator.domain.triggers import Hold, held_triggers
from tests.simulation.outside import Broken, Forge, Host, Pull, Run
from tests.simulation.rows import AskedRow, JobRow, MessageRow, SessionRow, TaskRow, TurnRow, at, seconds, snapshot_of

LEASE = 30.0
QUARANTINE_AFTER = 3
TAKES_DOWN = (EndSession, DeleteBranch, ClosePullRequest)

Placer = Callable[[Sequence[Waiting], Sequence[HostRoom], Mapping[int, ProjectRoom]], Placed]


def find_pull(forge: Forge, branch: str) -> Pull | None:
    """Look up before acting: the pull request of a branch that is there already."""
    found = [pull for pull in forge.of_branch(branch) if pull.state == "open"]
    return found[0] if found else None


def admit(host: Host, run: Run) -> None:
    """A host refuses the epochs that it has fenced."""
    host.fence(run.task, run.epoch)


def free_to_claim(job: JobRow, now: float) -> bool:
    """Promised and due, or claimed by somebody whose lease has lapsed."""
    return (job.state is JobState.PROMISED and job.run_at <= now) or (
        job.state is JobState.CLAIMED and job.lease_until <= now
    )


def still_ready(snapshot: Snapshot) -> bool:
    """Judge once more, next to the merge itself."""
    return any(one.trigger is Trigger.APPROVED_AND_GREEN and one.hold is Hold.HELD for one in held_triggers(snapshot))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The rules under test. A planted bug is another function in one of these places."""

    decide: Callable[[Snapshot], Decision] = lifecycle.decide
    place: Placer = placement.place
    key_of: Callable[[Action], str] = key_of
    find_pull: Callable[[Forge, str], Pull | None] = find_pull
    admit: Callable[[Host, Run], None] = admit
    still_ready: Callable[[Snapshot], bool] = still_ready
    free_to_claim: Callable[[JobRow, float], bool] = free_to_claim


@dataclass(slots=True, kw_only=True)
class World:
    """Everything there is in one simulated run."""

    chance: random.Random
    parts: Parts
    policy: Policy
    rules: dict[Trigger, Rule]
    forge: Forge
    hosts: list[Host]
    limit: int
    now: float = 0.0
    ids: int = 0
    tasks: list[TaskRow] = field(default_factory=list)
    bells: list[int] = field(default_factory=list)
    bells_lost: float = 0.0
    conversation: dict[str, int] = field(default_factory=dict)  # message id -> how often it reached an agent
    history: list[str] = field(default_factory=list)
    witness: Callable[[TaskRow], None] = lambda _: None  # sees each task right after it was decided about

    def log(self, line: str) -> None:
        self.history.append(f"{self.now:9.1f}  {line}")

    def next_id(self) -> int:
        self.ids += 1
        return self.ids

    def host(self, number: int) -> Host:
        return self.hosts[number - 1]

    def touch(self, task: TaskRow) -> None:
        """A fact changed: written down with it that the task is to be looked at, and a bell that may be lost or doubled."""
        task.wake_at = self.now
        roll = self.chance.random()
        if roll >= self.bells_lost:
            self.bells.append(task.id)
            if roll > 0.95:
                self.bells.append(task.id)

    # --- reconcile --------------------------------------------------------------------------------------------------------------------

    def snapshot(self, task: TaskRow) -> Snapshot:
        session = task.sessions[-1] if task.sessions else None
        host = self.host(session.host) if session is not None else None
        silent = host.seen_at if host is not None and host.silent else None
        return snapshot_of(task, now=self.now, policy=self.policy, rules=self.rules, silent_since=silent)

    def reconcile(self, task: TaskRow) -> bool:
        """Take, decide, store. Answers whether anything was new."""
        decision = self.parts.decide(self.snapshot(task))
        for memory in decision.memory:
            task.memory[memory.trigger] = memory
        new = sum(self.record(action, task) for action in decision.actions)
        if decision.outcome is not None and task.outcome is None:
            task.outcome, task.ended_at = decision.outcome, self.now
            self.log(f"task {task.id} ended: {decision.outcome} ({decision.reason})")
            new += 1
        if decision.status is not task.status:
            self.log(f"task {task.id}: {task.status} -> {decision.status} ({decision.reason})")
        task.status, task.reason = decision.status, decision.reason
        task.wake_at = seconds(decision.wake_at) if decision.wake_at is not None else None
        if new:
            self.touch(task)
        self.witness(task)
        return bool(new)

    def record(self, action: Action, task: TaskRow) -> int:
        key = self.parts.key_of(action)
        match action:
            case SendToAgent():
                return self.record_message(action, key, task)
            case Interrupt(cause=cause, escalation=escalation):
                if cause in task.asked:
                    return 0
                task.asked[cause] = AskedRow(cause=cause, escalation=escalation, asked_at=self.now)
                self.log(f"task {task.id} asks a human: {cause}{' (escalation)' if escalation else ''}")
                return 1
            case Settle(cause=cause):
                gone = [asked for asked in task.asked.values() if asked.open and asked.cause == cause]
                for asked in gone:
                    asked.open = False
                return len(gone)
            case Abandon(session=number):
                session = task.session(number)
                if session.ended:
                    return 0
                session.ended = True
                self.log(f"task {task.id}: session {number} is given up")
                return 1 + self.record(EndSession(session=number), task)
            case _:
                return self.promise(action, key, task)

    def record_end(self, task: TaskRow, session: SessionRow) -> None:
        self.record(EndSession(session=session.id), task)

    def record_message(self, action: SendToAgent, key: str, task: TaskRow) -> int:
        if key in task.messages:
            return 0
        self.say(
            task,
            key=key,
            session=action.session,
            trigger=action.trigger,
            occasion=action.occasion,
            episode=action.episode,
        )
        self.log(f"task {task.id} tells its agent: {key}")
        task.told |= {*action.reviews, *action.comments}
        if task.pull is not None and task.told:
            task.pull = replace(
                task.pull,
                reviews=tuple(replace(r, told=r.id in task.told) for r in task.pull.reviews),
                comments=tuple(replace(c, told=c.id in task.told) for c in task.pull.comments),
            )
        return 1

    def say(
        self,
        task: TaskRow,
        *,
        key: str,
        session: int | None,
        trigger: Trigger | None = None,
        occasion: str = "",
        episode: int = 0,
    ) -> None:
        task.messages.setdefault(
            key,
            MessageRow(
                id=f"m{self.next_id()}",
                key=key,
                session=session,
                trigger=trigger,
                occasion=occasion or key,
                episode=episode,
                attempt=task.attempt,
                created_at=self.now,
            ),
        )

    def promise(self, action: Action, key: str, task: TaskRow) -> int:
        if key in task.jobs:
            return 0
        session = getattr(action, "session", None)
        task.jobs[key] = JobRow(key=key, action=action, session=session, run_at=self.now)
        self.log(f"task {task.id} promises {key}")
        return 1

    # --- placement --------------------------------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        waiting = [
            t for t in self.tasks if t.outcome is None and t.cancel_requested_at is None and t.live_session() is None
        ]
        if not waiting:
            return
        rooms = [
            HostRoom(id=host.id, name=f"h{host.id}", capacity=2, live=self.live_on(host), reachable=not host.silent)
            for host in self.hosts
        ]
        live = sum(task.live_session() is not None for task in self.tasks)
        placed = self.parts.place(
            [self.waiting(task) for task in waiting], rooms, {1: ProjectRoom(limit=self.limit, live=live)}
        )
        by_id = {task.id: task for task in waiting}
        for one in placed.placements:
            self.begin_session(by_id[one.task], one.host)
        for number, reason in placed.reasons.items():
            if by_id[number].waiting_for != reason:
                by_id[number].waiting_for = reason
                self.touch(by_id[number])
        for host in self.hosts:
            if self.live_on(host) > 2:
                raise Broken(f"limit: host {host.id} has {self.live_on(host)} sessions")

    def live_on(self, host: Host) -> int:
        return sum(s is not None and s.host == host.id for s in (task.live_session() for task in self.tasks))

    def waiting(self, task: TaskRow) -> Waiting:
        held_by = "paused" if task.paused else ""
        if task.sessions and task.sessions[-1].restarted:
            last = task.sessions[-1]
            job, host = task.jobs[f"end:{last.id}"], self.host(last.host)
            span = self.policy.reassign_after
            gone = span is not None and host.silent and self.now >= host.seen_at + span.total_seconds() * 1.01 + 10
            if job.state is not JobState.DONE and not gone:
                held_by = "the agent before it is being stopped"
        return Waiting(
            task=task.id,
            project=1,
            priority=0,
            agent="command",
            held_by=held_by,
            avoid=frozenset(s.host for s in task.sessions),
        )

    def begin_session(self, task: TaskRow, host: int) -> None:
        before = task.sessions[-1] if task.sessions else None
        session = SessionRow(
            id=self.next_id(),
            epoch=len(task.sessions) + 1,
            host=host,
            created_at=self.now,
            published_sha=before.published_sha if before is not None else "",
            commits=before.commits if before is not None else 0,
        )
        task.sessions.append(session)
        self.say(task, key=f"task:{session.id}", session=session.id)
        for message in task.messages.values():
            if message.turn is None:
                message.session = session.id
        task.waiting_for = ""
        self.log(f"task {task.id}: session {session.id} (epoch {session.epoch}) on h{host}")
        self.touch(task)

    # --- jobs -------------------------------------------------------------------------------------------------------------------------

    def claim(self, task: TaskRow, job: JobRow) -> bool:
        """One statement: due and free, and no other claimed job of its session."""
        if not self.parts.free_to_claim(job, self.now):
            return False
        if job.session is not None and any(
            other.session == job.session and other.state is JobState.CLAIMED and other is not job
            for other in task.jobs.values()
        ):
            return False
        if job.claims - job.attempts >= QUARANTINE_AFTER:
            self.settle(task, job, job.claims, JobState.QUARANTINED, code="quarantined", unclaimed=True)
            return False
        if job.state is JobState.CLAIMED and job.lease_until > self.now:
            raise Broken(f"lease: {job.key} is claimed while its holder's lease runs")
        job.state, job.claims, job.lease_until = JobState.CLAIMED, job.claims + 1, self.now + LEASE
        if self.overtaken(task, job):
            self.settle(task, job, job.claims, JobState.DROPPED)
            return False
        return True

    def overtaken(self, task: TaskRow, job: JobRow) -> bool:
        if isinstance(job.action, TAKES_DOWN):
            return False
        return task.outcome is not None or (job.session is not None and task.session(job.session).ended)

    def settle(
        self, task: TaskRow, job: JobRow, claims: int, state: JobState, *, code: str = "", unclaimed: bool = False
    ) -> bool:
        """Only the newest claim may settle; anybody else's word is not heard."""
        if not unclaimed and (job.claims != claims or job.state is not JobState.CLAIMED):
            return False
        job.state, job.code, job.settled_at = state, code, self.now
        self.log(f"task {task.id}: {job.key} is {state} {code}")
        self.touch(task)
        return True

    def postpone(self, task: TaskRow, job: JobRow, claims: int) -> None:
        if job.claims == claims and job.state is JobState.CLAIMED:
            job.attempts += 1
            job.state = JobState.PROMISED
            job.run_at = self.now + backoff(job.attempts, seed=job.key).total_seconds()
            self.log(f"task {task.id}: {job.key} is put off until {job.run_at:.1f}")

    # --- observations -----------------------------------------------------------------------------------------------------------------

    def observe(self, task: TaskRow) -> None:
        """The pull request as the forge shows it now."""
        found = self.forge.of_branch(task.branch)
        if not found or task.pull is None:
            return
        seen = found[-1].looks()
        if seen == task.seen:
            task.pull = replace(task.pull, observed_at=at(self.now))
            return
        task.seen, task.pull = seen, self.forge.facts(found[-1], self.now, task.told)
        self.touch(task)

    def look(self, host: Host) -> None:
        """One look at a host: renew its guards by what an earlier look said, then read what ended. The reply may be lost."""
        host.guard(self.now)
        if not host.reachable:
            if not host.silent:
                host.silent = True
                self.log(f"h{host.id} is silent")
                self.touch_all_on(host)
            return
        span = self.policy.reassign_after
        if host.boot is not None and span is not None:
            for run in host.live():
                run.deadline = host.boot + span.total_seconds()
        if self.chance.random() < 0.05 * (self.bells_lost > 0):
            return
        host.boot, host.seen_at = host.clock(self.now), self.now
        if host.silent:
            host.silent = False
            self.log(f"h{host.id} is back")
            self.touch_all_on(host)
        for run in host.unseen():
            self.see_run(run)

    def touch_all_on(self, host: Host) -> None:
        for task in self.tasks:
            session = task.live_session()
            if session is not None and session.host == host.id:
                self.touch(task)

    def see_run(self, run: Run) -> None:
        task = self.tasks[run.task - 1]
        session = task.session(run.session)
        turn = next((turn for turn in session.turns if turn.n == run.turn), None)
        run.seen = run.end is not None and turn is not None
        if turn is None or turn.end is not None or session.ended:
            return
        self.hear(task, session, turn, run)
        if run.end is not None:
            turn.end, turn.started = run.end, run.end is not TurnEnd.UNSTARTABLE
            for message in task.messages.values():
                message.confirmed = message.confirmed or (turn.started and message.turn == (session.id, turn.n))
            self.log(f"task {task.id}: turn {turn.n} of session {session.id} {turn.end}")
            self.touch(task)
        elif run.asks and turn.request is None:
            turn.request = RequestFacts(
                id=run.id, kind="question", question="which?", asked_at=at(self.now), answered=False
            )
            self.touch(task)

    def hear(self, task: TaskRow, session: SessionRow, turn: TurnRow, run: Run) -> None:
        """What a run that talks has echoed, whether it says that it is done, and, at its end, what it has not read."""
        for message in task.messages.values():
            mine = message.turn in {None, (session.id, turn.n)}
            if message.id in run.echoed and mine and not message.confirmed:
                message.turn, message.confirmed = (session.id, turn.n), True
                self.touch(task)
            elif run.end is not None and message.id in run.said and not message.confirmed:
                message.turn = None if message.turn == (session.id, turn.n) else message.turn
        if turn.done_at != run.done_at:
            turn.done_at = run.done_at
            self.touch(task)

    # --- time -------------------------------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """What nobody rang for: hosts, pull requests, tasks that are due, tasks without a session."""
        for host in self.hosts:
            self.look(host)
        for task in self.tasks:
            self.observe(task)
        self.dispatch()
        for task in self.due():
            self.reconcile(task)

    def due(self) -> Iterable[TaskRow]:
        return [task for task in self.tasks if task.wake_at is not None and task.wake_at <= self.now]

    def advance(self, span: float) -> None:
        """Let time pass. Sweeps come at the latest 30 s after something is due, and looks within five minutes."""
        end = self.now + span
        while self.now < end:
            wakes = [task.wake_at for task in self.tasks if task.wake_at is not None]
            step = min([end, self.now + 240.0, *(max(wake, self.now) + 30.0 for wake in wakes)])
            self.now = step
            self.sweep()
