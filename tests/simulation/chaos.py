"""What can happen: people, agents, checks, workers that die and come back, hosts that fall silent, bells that are lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from orchestrator.domain.rules import DEFAULTS, Reply, Trigger
from orchestrator.domain.snapshot import CommentFacts, JobState, Policy, ReviewFacts, TurnEnd
from tests.simulation.hands import Flight, step, take_off
from tests.simulation.outside import Forge, Host, Pull, Run
from tests.simulation.rows import TaskRow
from tests.simulation.world import Parts, World

PEOPLE = ("ann", "bob")


def new_world(seed: int, parts: Parts) -> World:
    chance = random.Random(seed)
    own = chance.random() < 0.4
    names = ("test",) if own else ("test", "lint")
    rules = dict(DEFAULTS)
    if chance.random() < 0.5:
        rules[Trigger.APPROVED_AND_GREEN] = replace(
            rules[Trigger.APPROVED_AND_GREEN], auto=True, action=(Reply.AUTO_MERGE,)
        )
    if chance.random() < 0.2:
        rules[Trigger.AGENT_STUCK] = replace(rules[Trigger.AGENT_STUCK], action=(Reply.RESTART_AGENT,))
    policy = Policy(
        required_checks=names if own or chance.random() < 0.7 else None,
        own_checks=names if own else (),
        reassign_after=timedelta(minutes=15) if chance.random() < 0.8 else None,
    )
    world = World(
        chance=chance,
        parts=parts,
        policy=policy,
        rules=rules,
        forge=Forge(chance, checks=names, ci=not own),
        hosts=[Host(id=n, rate=chance.uniform(0.995, 1.005)) for n in (1, 2)],
        limit=2,
    )
    for n in range(1, chance.choice((1, 1, 1, 3)) + 1):
        world.tasks.append(TaskRow(id=n, branch=f"ao/{n}", created_at=0.0))
    return world


class Chaos:
    """One seeded run: which move comes next is the seed's choice."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.chance = world.chance
        self.flights: list[Flight] = []
        moves: dict[Callable[[], None], int] = {
            self.bell: 8,
            self.claim: 10,
            self.fly: 16,
            self.crash: 2,
            self.freeze: 2,
            self.agent: 6,
            self.check: 6,
            self.person: 14,
            self.host: 2,
            self.base: 1,
            self.forget: 1,
            self.wait: 8,
        }
        self.moves = list(moves)
        self.weights = list(moves.values())

    def move(self) -> None:
        self.chance.choices(self.moves, self.weights)[0]()

    def task(self) -> TaskRow:
        return self.chance.choice(self.world.tasks)

    def bell(self) -> None:
        if self.world.bells:
            self.world.reconcile(self.world.tasks[self.world.bells.pop() - 1])
        else:
            self.world.sweep()

    def claim(self) -> None:
        task = self.task()
        for job in list(task.jobs.values()):
            if job.state in {JobState.PROMISED, JobState.CLAIMED} and self.world.claim(task, job):
                self.flights.append(take_off(self.world, task, job))
                return

    def fly(self) -> None:
        flying = [flight for flight in self.flights if not flight.frozen]
        if flying:
            flight = self.chance.choice(flying)
            if flight.job.claims == flight.claims and flight.job.state is JobState.CLAIMED:
                flight.job.lease_until = max(flight.job.lease_until, self.world.now + 30.0)
            if not step(self.world, flight):
                self.flights.remove(flight)

    def crash(self) -> None:
        if self.flights:
            flight = self.flights.pop(self.chance.randrange(len(self.flights)))
            self.world.log(f"the worker of {flight.job.key} dies")

    def fly_on(self, flight: Flight, *, rough: bool) -> None:
        """Go on to the end, unless the worker dies or freezes on the way."""
        while step(self.world, flight):
            fate = self.chance.random() if rough else 1.0
            if fate < 0.04:
                self.world.log(f"the worker of {flight.job.key} dies")
                return
            if fate < 0.08:
                flight.frozen = True
                self.flights.append(flight)
                self.world.log(f"the worker of {flight.job.key} freezes")
                return

    def freeze(self) -> None:
        if self.flights:
            flight = self.chance.choice(self.flights)
            flight.frozen = not flight.frozen
            self.world.log(f"the worker of {flight.job.key} {'freezes' if flight.frozen else 'comes back'}")

    # --- agents and checks ------------------------------------------------------------------------------------------------------------

    def agent(self) -> None:
        live = [(host, run) for host in self.world.hosts for run in host.live()]
        if live:
            self.end_run(*self.chance.choice(live))

    def end_run(self, host: Host, run: Run) -> None:
        """What its fate says. One that hangs shows nothing for a while and ends its turn when it is asked twice."""
        if run.fate == "asks" and not run.asks:
            run.asks = True
            return
        if run.fate == "hangs":
            run.fate = "nothing"
            return
        if run.talks and not self.talked_out(host, run):
            return
        if not run.talks:
            self.work(host, run)
        run.end = {"dies": TurnEnd.KILLED, "fails": TurnEnd.FAILED}.get(run.fate, TurnEnd.FINISHED)

    def work(self, host: Host, run: Run) -> None:
        if run.fate == "commits" and run.session in host.workspaces:
            _, commits = host.workspaces[run.session]
            host.workspaces[run.session] = (
                f"{self.world.forge.next_id():016x}{run.task:08x}{run.session:016x}",
                commits + 1,
            )

    def talked_out(self, host: Host, run: Run) -> bool:
        """Read what was said next, or die over it; else do the work once and be done with it; over when nothing more can be said. Now and
        then a person says something."""
        task = self.world.tasks[run.task - 1]
        if len(run.said) < 2 and task.outcome is None and self.chance.random() < 0.2:
            self.say(task)
            return False
        unread = [message for message in run.said if message not in run.echoed]
        if unread and self.chance.random() < 0.1:
            run.end = TurnEnd.KILLED
        elif unread:
            run.echoed.append(unread[0])
            run.done_at = None
            self.world.conversation[unread[0]] = self.world.conversation.get(unread[0], 0) + 1
        elif run.done_at is None:
            self.work(host, run)
            run.done_at = self.world.now
        else:
            return run.closed
        return False

    def check(self) -> None:
        asked = self.world.forge.builds.asked()
        if asked:
            sha, name = self.chance.choice(asked)
            self.world.forge.builds.answer(sha, name)
            self.world.log(f"{name} on the base {sha[-4:]}: {self.world.forge.builds.base[sha, name].conclusion}")
        waiting = [
            (p, name)
            for p in self.world.forge.pulls
            for name, c in p.checks.items()
            if p.state == "open" and c.status == "queued"
        ]
        if waiting:
            pull, name = self.chance.choice(waiting)
            self.world.forge.finish_check(pull, name, self.chance.choice(("success", "success", "failure")))

    # --- people -----------------------------------------------------------------------------------------------------------------------

    def person(self) -> None:
        task = self.task()
        open_pulls = [pull for pull in self.world.forge.of_branch(task.branch) if pull.state == "open"]
        at_pull = (
            self.approve,
            self.approve,
            self.approve,
            self.object,
            self.comment,
            self.resolve,
            self.close,
            self.push,
            self.merge,
            self.run_again,
        )
        at_task = (
            self.cancel,
            self.retry,
            self.restart,
            self.pause,
            self.say,
            self.answer,
            self.acknowledge,
            self.stop,
            self.incident,
        )
        if open_pulls and self.chance.random() < 0.7:
            self.chance.choice(at_pull)(task, open_pulls[-1])
        elif task.outcome is None and task.cancel_requested_at is None and self.chance.random() < 0.5:
            self.chance.choice(at_task)(task)

    def review(self, pull: Pull, decision: str) -> None:
        old = self.chance.random() < 0.2
        author, trusted = self.chance.choice(((PEOPLE[0], True), (PEOPLE[1], True), ("eve", False)))
        review = ReviewFacts(
            id=self.world.forge.next_id(),
            author=author,
            decision=decision,
            head_sha="0" * 40 if old else pull.head,
            body="b",
            trusted=trusted,
            bot=False,
            told=False,
        )
        pull.reviews.append(review)
        self.world.log(f"{author} says {decision} at {'an old head' if old else pull.head[-6:]}")

    def approve(self, task: TaskRow, pull: Pull) -> None:
        self.review(pull, "approve")

    def object(self, task: TaskRow, pull: Pull) -> None:
        self.review(pull, "request_changes")

    def comment(self, task: TaskRow, pull: Pull) -> None:
        number = self.world.forge.next_id()
        bot = self.chance.random() < 0.3
        comment = CommentFacts(
            id=number,
            thread=f"t{number}",
            author="ann",
            body="c",
            path="a.py",
            line=1,
            resolved=False,
            trusted=self.chance.random() < 0.8,
            bot=bot,
            ours=False,
            told=False,
        )
        pull.comments.append(comment)
        self.world.log(f"a comment on !{pull.number}{' by a bot' if bot else ''}")

    def resolve(self, task: TaskRow, pull: Pull) -> None:
        pull.comments = [replace(comment, resolved=True) for comment in pull.comments]

    def close(self, task: TaskRow, pull: Pull) -> None:
        if self.chance.random() < 0.3:
            pull.state = "closed"

    def push(self, task: TaskRow, pull: Pull) -> None:
        if self.chance.random() < 0.3:
            self.world.forge.set_head(task.branch, f"ff{self.world.forge.next_id():038x}", self.world.now)
            self.world.log(f"somebody pushes to {task.branch}")

    def run_again(self, task: TaskRow, pull: Pull) -> None:
        """Somebody lets the failed checks run again, and has luck more often than not."""
        for name, check in list(pull.checks.items()):
            if check.conclusion == "failure":
                self.world.forge.begin_check(pull, name, check.n + 1)
                if self.chance.random() < 0.7:
                    self.world.forge.finish_check(pull, name, "success")
                self.world.log(f"{name} runs again at {pull.head[-6:]}")

    def merge(self, task: TaskRow, pull: Pull) -> None:
        if task.pull is not None and task.outcome is None:
            task.merge_requested = task.pull.head_sha
            self.world.touch(task)

    def cancel(self, task: TaskRow) -> None:
        if self.chance.random() < 0.4:
            task.cancel_requested_at = self.world.now
            self.world.log(f"task {task.id} is cancelled")
            self.world.touch(task)

    def retry(self, task: TaskRow) -> None:
        task.attempt += 1
        for asked in task.asked.values():
            asked.open = False
        if task.sessions and task.sessions[-1].turns:
            task.sessions[-1].turns[-1].resumes = 0
        self.world.log(f"task {task.id}: somebody says retry")
        self.world.touch(task)

    def restart(self, task: TaskRow) -> None:
        session = task.live_session()
        if session is not None and self.chance.random() < 0.4:
            session.ended = session.restarted = True
            self.world.log(f"task {task.id}: somebody restarts session {session.id}")
            self.world.record_end(task, session)
            self.retry(task)

    def pause(self, task: TaskRow) -> None:
        task.paused = not task.paused
        self.world.touch(task)

    def say(self, task: TaskRow) -> None:
        session = task.live_session()
        self.world.say(task, key=f"person:{self.world.next_id()}", session=session.id if session is not None else None)
        self.world.log(f"task {task.id}: somebody talks to the agent")
        self.world.touch(task)

    def answer(self, task: TaskRow) -> None:
        session = task.sessions[-1] if task.sessions else None
        turn = session.turns[-1] if session is not None and session.turns else None
        if session is not None and turn is not None and turn.request is not None and not turn.request.answered:
            turn.request = replace(turn.request, answered=True)
            self.world.say(task, key=f"answer:{turn.request.id}", session=session.id, trigger=Trigger.AGENT_NEEDS_INPUT)
            self.world.touch(task)

    def acknowledge(self, task: TaskRow) -> None:
        for asked in task.asked.values():
            asked.open = False
        self.world.touch(task)

    def stop(self, task: TaskRow) -> None:
        session = task.live_session()
        host = self.world.host(session.host) if session is not None else None
        for run in host.live() if host is not None and host.reachable else []:
            if run.task == task.id:
                run.end = TurnEnd.STOPPED

    def incident(self, task: TaskRow) -> None:
        """Somebody says that it is over, or that agents shall try."""
        builds = self.world.forge.builds
        if not builds.incidents:
            return
        key = self.chance.choice(sorted(builds.incidents))
        if self.chance.random() < 0.5:
            builds.incidents[key] = replace(builds.incidents[key], released=True)
        else:
            builds.base = {
                of: replace(one, conclusion="cancelled") if one.name == key[0] and one.conclusion == "failure" else one
                for of, one in builds.base.items()
            }
            del builds.incidents[key]
        self.world.log(f"somebody answers the incident of {key}")

    # --- the rest ---------------------------------------------------------------------------------------------------------------------

    def host(self) -> None:
        host = self.chance.choice(self.world.hosts)
        host.reachable = not host.reachable
        self.world.log(f"h{host.id} {'is reachable again' if host.reachable else 'is cut off'}")
        if not host.reachable and self.chance.random() < 0.3:
            for run in host.live():
                run.end = TurnEnd.KILLED

    def base(self) -> None:
        """Somebody else's change is merged: the base moves, and here and there it conflicts."""
        for pull in self.world.forge.pulls:
            if pull.state == "open":
                pull.base += 1
                pull.conflict = pull.conflict or self.chance.random() < 0.5
                pull.mergeable_known = self.chance.random() < 0.8
                for name in self.world.forge.names if self.world.forge.ci else ():
                    self.world.forge.builds.ask(f"{pull.base:040x}", name, 1)

    def forget(self) -> None:
        """A memory row is lost; what was done is still in the messages."""
        task = self.task()
        if task.memory and self.chance.random() < 0.5:
            trigger = self.chance.choice(sorted(task.memory))
            if task.memory[trigger].episode <= 1:
                del task.memory[trigger]
                self.world.log(f"task {task.id}: the memory of {trigger} is lost")

    def wait(self) -> None:
        self.world.advance(self.chance.choice((1.0, 10.0, 40.0, 40.0, 300.0, 1200.0)))
