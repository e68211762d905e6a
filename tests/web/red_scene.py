"""A task whose build is red for several reasons: its own, the base's, many pull requests', a flake's; after three attempts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from orchestrator.domain.failures import failure_of
from orchestrator.domain.rules import Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import BaseCheck, Check, Flake, Message, Project, PullRequest, Reaction, Task
from tests.web import scenes

LOGS = Path(__file__).parents[1] / "domain" / "failing_logs"
NAMES = ("unit", "lint", "types", "browser", "docs")
SAID = (
    "I made add return the sum of both numbers.",
    "The rounding was wrong: totals are rounded half up now, and the test is adapted.",
    "I took the rounding out again and count in cents.",
)


def red(of: PullRequest, name: str, log: str, *, head: str = "", n: int = 1) -> Check:
    """A failed check with what its log says."""
    failure = failure_of(log)
    return Check.objects.create(
        pull_request=of,
        name=name,
        head_sha=head or of.head_sha,
        n=n,
        status="completed",
        conclusion="failure",
        failing_log=failure.part,
        fingerprint=failure.fingerprint,
        headline=failure.headline,
        detail="exit code 1",
        completed_at=scenes.NOW,
    )


def red_task(of: Project) -> Task:
    """Three red heads of one episode; at the newest, four checks fail and one is green."""
    Project.objects.filter(pk=of.pk).update(scm={"plugin": "github", "requiredChecks": list(NAMES)})
    of.refresh_from_db()
    task = scenes.task(of, title="Round totals to cents", status=TaskStatus.CI_FAILED, reason="checks failed")
    session = scenes.session(task)
    pull = scenes.pull(task, head="3" * 40)
    unit = (LOGS / "pytest.txt").read_text()
    for n, said in enumerate(SAID, start=1):
        head = f"{n}" * 40
        scenes.turn(
            session, n=n, end="finished", ended_at=scenes.NOW, head_after=head, published_at=scenes.NOW, last_words=said
        )
        red(pull, "unit", unit, head=head)
        if n < len(SAID):
            Message.objects.create(
                task=task,
                session=session,
                key=f"k{n}",
                trigger=Trigger.CI_FAILED,
                occasion=f"{head[:16]}.x",
                episode=1,
                text="Checks failed.",
                created_at=scenes.NOW + timedelta(minutes=n),
            )
    Reaction.objects.create(task=task, trigger=Trigger.CI_FAILED, episode=1, held=True, since=scenes.NOW)
    lint, types = (
        red(pull, "lint", (LOGS / "ruff.txt").read_text()),
        red(pull, "types", (LOGS / "mypy.txt").read_text()),
    )
    flaky = red(pull, "browser", "FAILED tests/test_page.py::test_opens - timed out after 30 s\n")
    scenes.check(pull, "docs")
    BaseCheck.objects.create(
        project=of,
        name="lint",
        sha=pull.base_sha,
        status="completed",
        conclusion="failure",
        fingerprint=lint.fingerprint,
        completed_at=scenes.NOW,
    )
    Flake.objects.create(
        project=of,
        name="browser",
        fingerprint=flaky.fingerprint,
        times=3,
        weight=8.0,
        last_at=scenes.NOW + timedelta(days=9999),
    )
    scenes.incident(of, name="lint", fingerprint=lint.fingerprint)
    scenes.incident(of, name="types", fingerprint=types.fingerprint, on_base=False)
    return task
