"""The promises, read off the world by eyes that do not share the code's own."""

from __future__ import annotations

from collections import Counter

from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobState, TurnEnd
from orchestrator.domain.status import TaskStatus
from orchestrator.domain.triggers import Hold, held_triggers
from tests.simulation.outside import Broken
from tests.simulation.rows import TaskRow, seconds
from tests.simulation.world import World

WAITS_FOR_PEOPLE = frozenset(
    {
        TaskStatus.NEEDS_INPUT, TaskStatus.STUCK, TaskStatus.FAILED, TaskStatus.REVIEW_PENDING, TaskStatus.MERGEABLE,
    }
)  # fmt: skip
WAITS_AFTER_A_CALL = frozenset({TaskStatus.CI_FAILED, TaskStatus.CHANGES_REQUESTED, TaskStatus.CONFLICTED})


class Watch:
    """Checks a world after each move, and counts what was sent since the cause was last gone."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.seen: set[str] = set()
        self.sent: Counter[int] = Counter()
        self.attempts: Counter[int] = Counter()
        world.witness = self.count_sends

    def check(self) -> None:
        world = self.world
        for message, times in world.conversation.items():
            if times > 1:
                raise Broken(f"I4: message {message} reached its agent {times} times")
        for merged in world.forge.merged:
            if not (merged.green and merged.approved):
                raise Broken(f"I7: {merged.sha} was merged, green: {merged.green}, approved: {merged.approved}")
        for task in world.tasks:
            if sum(pull.state == "open" for pull in world.forge.of_branch(task.branch)) > 1:
                raise Broken(f"I2: {task.branch} has two open pull requests")
            self.check_deadlines(task)

    def count_sends(self, task: TaskRow) -> None:
        """At most `retries` messages about red checks between two moments at which they were green (or a person said retry)."""
        if self.attempts[task.id] != task.attempt or self.green(task):
            self.attempts[task.id], self.sent[task.id] = task.attempt, 0
        for message in task.messages.values():
            if message.trigger is Trigger.CI_FAILED and message.id not in self.seen:
                self.seen.add(message.id)
                self.sent[task.id] += message.attempt == task.attempt
                self.check_told(task)
        if self.sent[task.id] > 2:
            raise Broken(f"I5: {self.sent[task.id]} messages about red checks, 2 were allowed")

    def check_told(self, task: TaskRow) -> None:
        """An agent is told of what is its own: not of what the base has, nor of a flake that was not run again."""
        builds = self.world.forge.builds
        pull = task.pull
        failed = [check for check in pull.checks if check.conclusion == "failure"] if pull is not None else []
        own = []
        for check in failed:
            base = builds.base.get((pull.base_sha if pull is not None else "", check.name))
            known = (
                {base.fingerprint, check.fingerprint} if base is not None and base.conclusion == "failure" else set()
            )
            released = any(
                one.released for key, one in builds.incidents.items() if key == (check.name, check.fingerprint)
            )
            if not known or released or (len(known) == 2 and "" not in known):
                own.append(check)
        if not own:
            raise Broken(f"I11: task {task.id} is told of {[check.name for check in failed]}, which the base has, too")
        again = any(key.startswith(("rerun:", "check:")) and ":1:" not in key for key in task.jobs)
        once = all(len(builds.reds.get((pull.head_sha, check.name), ())) == 1 for check in own) if pull else False
        if once and not again and all((check.name, check.fingerprint) in builds.flakes for check in own):
            raise Broken(f"I11: task {task.id} is told of flakes that were not run again")

    def green(self, task: TaskRow) -> bool:
        conclusions = {check.name: check.conclusion for check in task.pull.checks} if task.pull is not None else {}
        return all(conclusions.get(name) == "success" for name in self.world.forge.names)

    def check_deadlines(self, task: TaskRow) -> None:
        """An escalation that is due is there within a minute. A person's retry begins a new episode, with a time of its own."""
        if task.outcome is not None or task.cancel_requested_at is not None:
            return
        late = [
            memory.trigger
            for memory in task.memory.values()
            if memory.held
            and memory.attempt >= task.attempt
            and memory.deadline_at is not None
            and self.world.now > seconds(memory.deadline_at) + 60
            and memory.trigger is not Trigger.AGENT_IDLE
            and f"{memory.trigger}:escalation-{memory.episode}" not in task.asked
        ]
        if late:
            holding = {one.trigger for one in held_triggers(self.world.snapshot(task)) if one.hold is Hold.HELD}
            if holding & set(late):
                raise Broken(f"I6: task {task.id}: {late} was to be escalated by now")

    # --- at rest ----------------------------------------------------------------------------------------------------------------------

    def check_rest(self) -> None:
        """Nothing happens any more: each task has ended or waits for a person who knows, and nothing is left behind."""
        self.check()
        for task in self.world.tasks:
            unsettled = [job.key for job in task.jobs.values() if job.state in {JobState.PROMISED, JobState.CLAIMED}]
            if unsettled:
                raise Broken(f"I10: task {task.id} rests while {unsettled} are not settled")
            self.check_recorded(task)
            if task.outcome is None:
                self.check_waits(task)
            else:
                self.check_gone(task)

    def check_recorded(self, task: TaskRow) -> None:
        """Whatever happened outside was promised first."""
        for pull in self.world.forge.of_branch(task.branch):
            if not any(key.startswith("open-pr:") for key in task.jobs):
                raise Broken(f"I10: !{pull.number} was opened without a promise")
            for merged in self.world.forge.merged:
                if merged.number == pull.number and not any(
                    key.startswith(f"merge:{merged.sha}:") for key in task.jobs
                ):
                    raise Broken(f"I10: {merged.sha} was merged without a promise")

    def check_waits(self, task: TaskRow) -> None:
        if not task.reason:
            raise Broken(f"I1: task {task.id} waits without a reason")
        if task.status in WAITS_FOR_PEOPLE:
            if task.status is TaskStatus.FAILED and not task.asked:
                raise Broken(f"I1: task {task.id} failed and nobody was told")
            return
        if task.status is TaskStatus.QUEUED and task.waiting_for:
            return
        called = [asked for asked in task.asked.values() if asked.escalation]
        if task.status in WAITS_AFTER_A_CALL and called:
            return
        if task.status is TaskStatus.CI_FAILED and "waits" in task.reason and self.world.forge.builds.incidents:
            return  # people were told of the incident
        raise Broken(f"I1: task {task.id} is {task.status} ({task.reason}) for ever, and nobody was called")

    def check_gone(self, task: TaskRow) -> None:
        for session in task.sessions:
            excused = f"job:end:{session.id}" in {asked.cause for asked in task.asked.values()}
            host = self.world.host(session.host)
            alive = [run.id for run in host.live() if run.session == session.id]
            if (alive or session.id in host.workspaces or not session.ended) and not excused:
                raise Broken(
                    f"I9: task {task.id} ended and left {alive or 'the workspace'} of session {session.id} on h{host.id}"
                )
            if any(turn.end is None for turn in session.turns) and session is task.sessions[-1] and not excused:
                raise Broken(
                    f"I9: task {task.id} ended and a turn of session {session.id} never did ({TurnEnd.STOPPED} expected)"
                )
