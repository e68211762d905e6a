"""The people of the world: a reviewer on GitHub who objects once and then approves, and somebody who talks to agents at work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.fakegithub.world import ROBOT, Pull, Thread, World
from tests.faults.matrix import Matrix

REVIEWER = "grace"
OBJECTED, TALKED_TO = "objected to", "talked to"
WORDS = "Mind the gap"


class People:
    """Look, and do what is to be done: a few times a second, until the world ends."""

    def __init__(self, world: World, matrix: Matrix) -> None:
        self._world, self._matrix = world, matrix
        self._over = threading.Event()
        self.talked: set[int] = set()  # tasks whose agents were spoken to
        self.wrong: list[BaseException] = []
        world.people[REVIEWER] = "write"

    @contextmanager
    def about(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._keep, args=(act,), daemon=True) for act in (self.review, self.talk)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join(timeout=30)

    def _keep(self, act: Callable[[], None]) -> None:
        try:
            while not self._over.wait(0.1):
                act()
        except BaseException as error:  # noqa: BLE001  # told by the driver
            self.wrong.append(error)

    # --- on GitHub ---

    def review(self) -> None:
        """What is green is reviewed."""
        with self._world.lock:
            for pull in [pull for pull in self._world.pulls.values() if pull.state == "open" and self._green(pull)]:
                threads = [thread for thread in self._world.threads.values() if thread.pull == pull.number]
                if OBJECTED in pull.body and not threads:
                    point = ("README", 1, "say a word on it")
                    self._world.review(REVIEWER, pull.number, "CHANGES_REQUESTED", "One point.", [point])
                elif all(answered(thread) for thread in threads) and not self._approved(pull):
                    self._world.review(REVIEWER, pull.number, "APPROVED")

    def _green(self, pull: Pull) -> bool:
        runs = [run for run in self._world.checks.values() if run.sha == pull.head_sha]
        return bool(runs) and all(run.conclusion == "success" for run in runs)

    def _approved(self, pull: Pull) -> bool:
        return any(
            review.pull == pull.number and review.sha == pull.head_sha and review.state == "APPROVED"
            for review in self._world.reviews
        )

    # --- to agents ---

    def talk(self) -> None:
        """Some words into the first live turn of each task that wants them; said again with their key until they are accepted."""
        for (task,) in self._matrix.ask(
            "SELECT DISTINCT task.id FROM orchestrator_task task JOIN orchestrator_session session ON session.task_id = task.id"
            " JOIN orchestrator_turn turn ON turn.session_id = session.id"
            f" WHERE task.body = '{TALKED_TO}' AND turn.started_at IS NOT NULL AND turn.ended_at IS NULL"
        ):
            if task not in self.talked:
                words = {"text": f"{WORDS} of task {task}."}
                key = {"Idempotency-Key": f"words-{task}"}
                answer = self._matrix.here.patient("POST", f"/tasks/{task}/messages/", json=words, headers=key)
                assert answer.status_code in {200, 201}, answer.text
                self.talked.add(task)


def answered(thread: Thread) -> bool:
    return any(remark.author == ROBOT for remark in thread.remarks)
