"""What really happened in the world: read from GitHub's own state, from the model's log, from the machines' processes, and from the rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from tests.fakegithub.world import ROBOT, Push
from tests.faults.witness import told
from tests.faults.world import World
from tests.hosts.service import rooms, serves
from tests.installation import wait_for

_MARK = re.compile(r"<!-- (ao-[\w-]+) -->")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was counted, and what must be nothing: each with what it was, where it was something."""

    counted: dict[str, int]
    nothing: dict[str, list[str]]

    @property
    def clean(self) -> bool:
        return not any(self.nothing.values())

    def figures(self) -> dict[str, object]:
        """For a person to read: numbers, and words where a number is wrong."""
        return {**self.counted, **{name: len(found) for name, found in self.nothing.items()}} | (
            {} if self.clean else {"found": {name: found[:20] for name, found in self.nothing.items() if found}}
        )


def outcome(world: World) -> Verdict:
    """Wait for the end of all that was accepted; what really happened."""
    world.finish()
    with suppress(AssertionError):
        wait_for(lambda: not any(left(world).values()), "nothing is left", seconds=60, every=0.5)
    lives = world.witness.starts()
    counted = {
        "kills": len(world.kills),
        "at the step": sum(kill.hit for kill in world.kills),
        "accepted": len(world.keys),
        "merged": sum(pull.state == "merged" for pull in world.github.world.pulls.values()),
        "turns": world.ask("SELECT count(*) FROM orchestrator_turn WHERE started_at IS NOT NULL")[0][0],
        "turns seen": len(lives),
        "agents killed": world.witness.struck.total(),
        "requests to the model": len(world.model.heard),
        "requests to GitHub": len(world.github.asked),
        "seconds": int(world.seconds),
    }
    nothing = {
        **_at_github(world),
        **_of_agents(world),
        **_in_rows(world),
        **left(world),
    }
    return Verdict(counted, {name: [str(one) for one in found] for name, found in nothing.items()})


def doubles(found: Iterable[Hashable]) -> list[Hashable]:
    """Whatever is there more than once, as often as it is there too often."""
    return [one for one, times in Counter(found).items() for _ in range(times - 1)]


def _at_github(world: World) -> dict[str, list[object]]:
    github = world.github.world
    tasks = world.ask("SELECT id, branch FROM orchestrator_task")
    merged = {pull.head for pull in github.pulls.values() if pull.state == "merged"}
    files = set(world.repository.ask("ls-tree", "--name-only", "main").splitlines())
    words = [remark for remarks in github.remarks.values() for remark in remarks]
    words += [remark for thread in github.threads.values() for remark in thread.remarks]
    parents = [line.split() for line in world.repository.ask("log", "main", "--merges", "--format=%P").splitlines()]
    lost = [branch for task, branch in tasks if branch not in merged or f"work-{task}.txt" not in files]
    return {
        "lost": [*lost, *range(max(0, len(world.keys) - len(tasks)))],
        "doubled tasks": [*range(max(0, len(tasks) - len(world.keys)))],
        "doubled pull requests": doubles(pull.head for pull in github.pulls.values()),
        "doubled comments": doubles(mark for one in words if one.author == ROBOT for mark in _MARK.findall(one.body)),
        "doubled merges": [
            *doubles(head for _, head in parents),
            *doubles(world.repository.ask("log", "main", "--merges", "--format=%s").splitlines()),
        ],
        "pushes over somebody's work": [push for push in github.pushes if not _follows(world, push)],
        "open pull requests": [pull.number for pull in github.pulls.values() if pull.state != "merged"],
        "unanswered threads": [
            one.id for one in github.threads.values() if ROBOT not in {remark.author for remark in one.remarks}
        ],
        "branches left": sorted(ref for ref in github.refs() if ref != "refs/heads/main"),
        "offences against GitHub's documents": list(world.github.judge.offences),
    }


def _follows(world: World, push: Push) -> bool:
    """Whether a push of ours lost nothing: it made a branch, went on from what was there, or deleted what was merged."""
    if push.branch == "main":
        return False
    if push.before is None:
        return True
    onto = push.after or "main"
    return world.github.world.git("merge-base", push.before, onto, check=False) == push.before


def _of_agents(world: World) -> dict[str, list[object]]:
    heard = told(world.model)
    messages = world.ask("SELECT message.id::text, message.task_id, message.trigger FROM orchestrator_message message")
    return {
        "doubled messages": [name for name, times in heard.items() for _ in range(times - 1)],
        "messages never heard": [message for message in messages if message[0] not in heard],
        "turns started twice": [turn for turn, times in world.witness.starts().items() for _ in range(times - 1)],
        "second agents on a branch": [*world.witness.overlaps()],
    }


def _in_rows(world: World) -> dict[str, list[object]]:
    return {
        "tasks not merged": world.ask("SELECT id, status, reason FROM orchestrator_task WHERE outcome <> 'merged'"),
        "messages that count as doubled": world.ask(
            "SELECT task_id, key, deliveries FROM orchestrator_message WHERE deliveries > 1"
        ),
        "escalations without a cause": [
            row
            for row in world.ask(
                "SELECT task_id, trigger, cause, question, evidence FROM orchestrator_interruption WHERE escalation"
            )
            if not _caused(world, row[0], row[1])
        ],
        "jobs put aside or refused": world.ask(
            "SELECT task_id, key, code, error FROM orchestrator_job WHERE state NOT IN ('done', 'promised', 'claimed', 'dropped')"
            " AND code <> 'overtaken'"
        ),
    }


def _caused(world: World, task: int, trigger: str) -> bool:
    """An agent whose program we killed again and again is the only thing that a person is needed for here."""
    return trigger == "agent-exited" and world.witness.struck[task] > 3


def left(world: World) -> dict[str, list[object]]:
    """What is still there of sessions that have ended."""
    found: dict[str, list[object]] = {
        "processes left": [*world.witness.marked()],
        "guards left": [
            (one.name, pid)
            for one in world.machines
            for pid in set(one.processes("workers.hostkit.serve")) - set(serves(one))
        ],
        "rooms left": [(one.name, room) for one in world.machines for room in rooms(one).split()],
        "workspaces left": world.ask(
            "SELECT name, state FROM orchestrator_workspace WHERE state <> 'removed' AND session_id IS NOT NULL"
        ),
        "sessions left": world.ask("SELECT id FROM orchestrator_session WHERE ended_at IS NULL"),
        "claims left": world.ask("SELECT key, error FROM orchestrator_job WHERE state = 'claimed'"),
        "database locks left": world.ask(
            "SELECT pid, objid FROM pg_locks WHERE locktype = 'advisory' AND pid <> pg_backend_pid()"
        ),
        "git locks left": [
            path
            for place in (world.here.home, *(one.root / "home/agent/.ao-host" for one in world.machines))
            for path in place.rglob("*.lock")
            if ".git" in str(path.parent) and not path.name.startswith("ao-")  # ours are files to lock, not locks
        ],
    }
    return found
