"""Run failed checks again: looked up first, asked once, looked up again where the answer was lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from orchestrator.ports import Refused, Unavailable
from workers.git.program import Deadline
from workers.plugins.scms.github.client import Answer, Client

ACTIONS = "github-actions"


def rerun(client: Client, checks: Sequence[str], deadline: Deadline) -> None:
    """The failed jobs of each workflow run that these checks belong to; checks of other apps are asked for one by one. Refused codes:
    `cannot-rerun`, `not-allowed`."""
    runs: dict[int, int] = {}
    others: list[tuple[str, int]] = []
    for check in checks:
        deadline.left()
        if not check.isdigit():
            raise Refused(
                "a commit status is reported by whoever made it and cannot be asked for again", code="cannot-rerun"
            )
        found = client.must(client.get(f"check-runs/{check}"), doing="reading a check of").body
        if (found.get("app") or {}).get("slug") == ACTIONS:
            job = client.must(client.get(f"actions/jobs/{check}"), doing="reading a job of").body
            runs[int(job["run_id"])] = max(runs.get(int(job["run_id"]), 0), int(job.get("run_attempt") or 1))
        else:
            others.append((check, int(found["check_suite"]["id"])))
    for run, attempt in runs.items():
        _once(client, f"actions/runs/{run}/rerun-failed-jobs", partial(_run_again, client, run, attempt), deadline)
    for check, suite in others:
        _once(client, f"check-runs/{check}/rerequest", partial(_suite_again, client, suite), deadline)


def _once(client: Client, path: str, done: Callable[[], bool], deadline: Deadline) -> None:
    """Ask for it unless it is done; a lost answer may mean that it is."""
    if done():
        return
    deadline.left()
    try:
        answer: Answer = client.write("POST", path)
    except Unavailable:
        if done():
            return
        raise
    if answer.ok or (answer.status >= 500 and done()):
        return
    problem = client.problem(answer, doing="running failed checks again in")
    if isinstance(problem, Refused):
        raise Refused(str(problem), code="not-allowed")
    raise problem


def _run_again(client: Client, run: int, attempt: int) -> bool:
    """Whether the workflow run has been begun again since the attempt that failed. GitHub begins none that is still under way."""
    there: Any = client.must(client.get(f"actions/runs/{run}"), doing="reading a workflow run of").body
    if int(there.get("run_attempt") or 1) > attempt:
        return True
    if there.get("status") != "completed":
        raise Unavailable(
            "the workflow run that failed is still under way: its failed jobs are run again when it is over"
        )
    return False


def _suite_again(client: Client, suite: int) -> bool:
    """Whether the suite of a check is to be run, or runs: it was asked for again since it failed."""
    there: Any = client.must(client.get(f"check-suites/{suite}"), doing="reading a check suite of").body
    return bool(there.get("status") != "completed")
