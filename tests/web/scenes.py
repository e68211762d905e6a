"""Rows for the tests of the pages: people, projects, tasks in every state."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from django.utils import timezone

from orchestrator.domain.rules import Priority, Trigger
from orchestrator.domain.status import Attention, Outcome, TaskStatus, attention_of
from orchestrator.models import (
    Check,
    Comment,
    DecisionRecord,
    Diff,
    Event,
    Host,
    Incident,
    Interruption,
    JournalChunk,
    Membership,
    Message,
    Project,
    PullRequest,
    Review,
    Session,
    Task,
    Turn,
)
from orchestrator.ports import PullRequestSeen, PullState

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
HEAD = "4f2d9c1ab37e58d06c1b9ffa2e7d3c5580e6a1b2"
BASE = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
OUTCOMES = {
    TaskStatus.MERGED: Outcome.MERGED,
    TaskStatus.CLOSED: Outcome.CLOSED,
    TaskStatus.DONE: Outcome.DONE,
    TaskStatus.CANCELLED: Outcome.CANCELLED,
}
DIFF = """diff --git a/billing/totals.py b/billing/totals.py
index 3b18e51..a9c2f10 100644
--- a/billing/totals.py
+++ b/billing/totals.py
@@ -1,6 +1,8 @@ def total(lines):
 from decimal import Decimal
 
 
-def total(lines):
-    return sum(line.price for line in lines)
+def total(lines: list[Line]) -> Decimal:
+    \"\"\"What the lines cost together, rounded once.\"\"\"
+    exact = sum((line.price * line.count for line in lines), Decimal())
+    return exact.quantize(Decimal("0.01"))
 
diff --git a/tests/test_totals.py b/tests/test_totals.py
new file mode 100644
index 0000000..e69de29
--- /dev/null
+++ b/tests/test_totals.py
@@ -0,0 +1,2 @@
+def test_three_apples_cost_three_times_one():
+    assert total([Line(price=Decimal("0.30"), count=3)]) == Decimal("0.90")
"""  # noqa: W293  # the context lines of a diff


def person(name: str = "ada", *, superuser: bool = False, staff: bool = False) -> User:
    """Somebody with an account."""
    return User.objects.create_user(name, password="a long enough secret", is_superuser=superuser, is_staff=staff)


def project(key: str = "shop", *, members: dict[User, str] | None = None, **fields: object) -> Project:
    """A project of the built-in forge."""
    made = Project.objects.create(
        **{
            "key": key,
            "name": key.title(),
            "remote": f"/repositories/{key}",
            "default_branch": "main",
            "session_prefix": key[:10],
            "agent": "command",
            "scm": {"plugin": "local", "checks": {"unit": "pytest -q"}},
            **fields,
        }
    )
    for user, role in (members or {}).items():
        Membership.objects.create(project=made, user=user, role=role)
    return made


def host(name: str = "local", *, seen_at: datetime = NOW) -> Host:
    return Host.objects.get_or_create(name=name, defaults={"seen_at": seen_at})[0]


def task(
    of: Project, title: str = "Round totals once", *, status: TaskStatus = TaskStatus.WORKING, **fields: object
) -> Task:
    """A task as `settle` would leave it."""
    number = of.next_number
    of.next_number += 1
    of.save(update_fields=["next_number"])
    outcome = OUTCOMES.get(status, "")
    return Task.objects.create(
        **{
            "project": of,
            "number": number,
            "title": title,
            "agent": "command",
            "branch": f"{of.session_prefix}/{number}",
            "status": status,
            "attention": attention_of(status, escalated=False),
            "outcome": outcome,
            "ended_at": NOW if outcome else None,
            **fields,
        }
    )


def session(of: Task, **fields: object) -> Session:
    return Session.objects.create(task=of, epoch=of.sessions.count() + 1, host=host(), agent=of.agent, **fields)


def turn(of: Session, *, output: bytes = b"", **fields: object) -> Turn:
    made = Turn.objects.create(
        **{
            "session": of,
            "n": of.turns.count() + 1,
            "prompt": "do it",
            "progress_at": NOW,
            "journal_size": len(output),
            **fields,
        }
    )
    if output:
        JournalChunk.objects.create(run=made.run_id, offset=0, data=output)
    return made


def pull(of: Task, *, state: str = "open", head: str = HEAD) -> PullRequest:
    return PullRequest.objects.create(
        project=of.project,
        task=of,
        number=of.number,
        title=of.title,
        branch=of.branch,
        base_branch="main",
        state=state,
        head_sha=head,
        head_since=NOW,
        observed_at=NOW,
    )


def seen(of: PullRequest, **more: object) -> PullRequestSeen:
    """What a look shows of it: what is known of it, but for these."""
    same = PullRequestSeen(
        number=of.number,
        url="",
        state=PullState.OPEN,
        branch=of.branch,
        base_branch="main",
        head_sha=of.head_sha,
        base_sha=of.base_sha,
        mergeable=of.mergeable,
        conflict_files=(),
        merged_sha=None,
        required_checks=None,
        checks=(),
        reviews=(),
        comments=(),
        observed_at=timezone.now(),
    )
    return replace(same, **more)  # type: ignore[arg-type]


def check(of: PullRequest, name: str = "unit", conclusion: str = "success", log: str = "") -> Check:
    return Check.objects.create(
        pull_request=of,
        name=name,
        head_sha=of.head_sha,
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        failing_log=log,
        completed_at=NOW if conclusion else None,
    )


def question(of: Task, text: str = "Which rounding mode?", *options: str) -> Turn:
    """The agent of the task waits for an answer."""
    request = {
        "id": "q1",
        "kind": "question",
        "question": text,
        "options": list(options),
        "asked_at": NOW.isoformat(),
    }
    return turn(session(of), request=request, started_at=NOW, last_words="Two ways are possible here.")


def asked_of(task_id: int) -> Interruption:
    """What is asked about the task, asked now if it was not yet."""
    task = Task.objects.get(pk=task_id)
    return task.interruptions.first() or escalation(task)


def escalation(of: Task, text: str = "The check unit failed three times", cause: str = "ci-failed:1") -> Interruption:
    return Interruption.objects.create(
        task=of,
        trigger=Trigger.CI_FAILED,
        cause=cause,
        priority=Priority.URGENT,
        escalation=True,
        question=text,
        evidence=["unit: failure", "2 of 2 tries used"],
        asked_at=NOW,
    )


def incident(of: Project, *, on_base: bool = True, name: str = "lint", fingerprint: str = "f1") -> Incident:
    """A failure of the whole project."""
    return Incident.objects.create(
        project=of,
        check_name=name,
        fingerprint=fingerprint,
        headline="src/cart.py: F401 `os` imported but unused",
        on_base=on_base,
        pulls=[4] if on_base else [4, 5, 7],
        opened_at=NOW,
    )


def full(of: Project, asker: User) -> Task:
    """A task with something in every part of its page."""
    made = task(
        of,
        "Round totals once, not per line",
        status=TaskStatus.REVIEW_PENDING,
        reason="green; waits for a review",
        body="Totals are **off by a cent** when lines are rounded one by one.\n\n- see `billing/totals.py`\n- keep the API",
        labels=["billing", "bug"],
        requested_by=asker,
        issue="#42",
        priority=2,
    )
    work = session(made, prepared_at=NOW, base_sha=BASE)
    first = turn(
        work,
        output=b"\x1b[1mreading\x1b[0m billing/totals.py\n\x1b[32mrunning tests\x1b[0m ... 41 passed, 1 failed\n",
        started_at=NOW,
        ended_at=NOW + timedelta(minutes=2),
        end="finished",
        exit_code=0,
        last_words="Totals are now rounded once, at the end. The unit check failed on a fixture; I am looking at it.",
        input_tokens=48_211,
        output_tokens=3_020,
        cost_usd="0.41",
    )
    turn(
        work,
        output="fixture corrected\n✓ 42 passed\n".encode(),
        started_at=NOW + timedelta(minutes=5),
        ended_at=NOW + timedelta(minutes=6),
        end="finished",
        exit_code=0,
        last_words="Fixed the fixture. All 42 tests pass.",
        input_tokens=20_100,
        output_tokens=900,
        cost_usd="0.12",
    )
    opened = pull(made)
    check(opened, "lint")
    check(opened, "types", "")
    check(opened, "unit", "failure", "E   assert Decimal('0.91') == Decimal('0.90')\n1 failed, 41 passed in 2.1s\n")
    review = Review.objects.create(
        pull_request=opened,
        author="grace",
        decision="request_changes",
        head_sha=HEAD,
        body="Nearly there.",
        trusted=True,
        submitted_at=NOW + timedelta(minutes=8),
    )
    Comment.objects.create(
        pull_request=opened,
        review=review,
        thread="t1",
        author="grace",
        body="Say why it is quantized *here*.",
        path="billing/totals.py",
        line=7,
        trusted=True,
        created_at=NOW + timedelta(minutes=8),
    )
    Message.objects.create(
        task=made,
        session=work,
        key="task",
        occasion="task",
        text="The task: Round totals once, not per line",
        turn=first,
        delivered_at=NOW,
        confirmed_at=NOW,
    )
    Message.objects.create(
        task=made, session=work, key="p1", occasion="p1", text="Please keep the old signature working.", author=asker
    )
    for minute, (kind, text) in enumerate(
        [
            ("task.accepted", "accepted: Round totals once, not per line"),
            ("session.began", "session 1 on local"),
            ("turn.ended", "turn 1 finished"),
            ("pull.opened", "pull request 1 is open"),
            ("review.submitted", "grace: request changes at 4f2d9c1ab3"),
        ]
    ):
        Event.objects.create(task=made, project=of, kind=kind, text=text, at=NOW + timedelta(minutes=minute))
    DecisionRecord.objects.create(
        task=made,
        at=NOW,
        version=1,
        facts=b"",
        status=TaskStatus.CI_FAILED,
        reason="checks failed",
        why=["unit: failure -> ci-failed (version 3) -> send-to-agent (try 1 of 2)", "-> publish:1:1:0"],
        made=["send:1:ci-failed:1:4f2d9c1ab3"],
    )
    Diff.objects.create(task=made, base_sha=BASE, head_sha=HEAD, text=DIFF)
    return made


def red(of: Project) -> Task:
    """A task whose agent is at rest and whose check is red."""
    made = full(of, person(f"owner-{Task.objects.count()}"))
    opened = made.pull_requests.get()
    for gone in (made.messages.all(), made.decisions.all(), opened.checks.all(), opened.reviews.all()):
        gone.delete()
    Turn.objects.filter(session__task=made).update(published_at=NOW, head_after="c" * 40)
    check(opened, "unit", "failure")
    return made


TITLES = (
    "Fix the failing test in billing",
    "Add search to the order list",
    "Upgrade the PDF library and keep invoices identical",
    "Cache exchange rates for an hour",
    "Explain the retry policy in the handbook",
    "Make the import of large catalogues resumable",
    "Remove the deprecated checkout endpoint",
    "Validate IBANs before they are stored",
    "Move session cleanup to the scheduler",
    "Show stock levels on the product page",
)
MIX = (
    (TaskStatus.NEEDS_INPUT, "the agent asks"),
    (TaskStatus.STUCK, "the agent shows no progress"),
    (TaskStatus.REVIEW_PENDING, "green; waits for a review"),
    (TaskStatus.MERGEABLE, "approved and green"),
    (TaskStatus.WORKING, "turn 2: running the tests"),
    (TaskStatus.CI_FAILED, "unit failed; the log went to the agent"),
    (TaskStatus.STARTING, "preparing the workspace"),
    (TaskStatus.CHANGES_REQUESTED, "2 comments went to the agent"),
    (TaskStatus.QUEUED, "every host is full"),
    (TaskStatus.CI_PENDING, "unit and lint are running"),
    (TaskStatus.MERGED, "merged"),
    (TaskStatus.DONE, "nothing had to be changed"),
    (TaskStatus.CANCELLED, "cancelled by ada"),
)


@dataclass(frozen=True, slots=True)
class Crowd:
    """Many tasks of a project."""

    tasks: list[Task]


def crowd(of: Project, count: int, *, at: datetime = NOW) -> Crowd:
    """So many tasks in a mix of states, made in a few statements."""
    tasks = []
    for n in range(1, count + 1):
        status, reason = MIX[(n * 7) % len(MIX)]
        outcome = OUTCOMES.get(status, "")
        tasks.append(
            Task(
                project=of,
                number=n,
                title=TITLES[n % len(TITLES)],
                agent=("claude-code", "codex", "command")[n % 3],
                branch=f"{of.session_prefix}/{n}",
                status=status,
                attention=attention_of(status, escalated=False),
                reason=reason,
                outcome=outcome,
                ended_at=at - timedelta(minutes=n) if outcome else None,
            )
        )
    made = Task.objects.bulk_create(tasks)
    Project.objects.filter(pk=of.pk).update(next_number=count + 1)
    pulls = PullRequest.objects.bulk_create(
        PullRequest(
            project=of,
            task=one,
            number=one.number,
            title=one.title,
            branch=one.branch,
            base_branch="main",
            head_sha=HEAD,
            head_since=at,
            observed_at=at,
        )
        for one in made
        if one.attention in {Attention.REVIEW, Attention.MERGE} or one.status in {"ci_failed", "ci_pending"}
    )
    Check.objects.bulk_create(
        Check(pull_request=one, name=name, head_sha=HEAD, status="completed", conclusion=conclusion)
        for one in pulls
        for name, conclusion in (("unit", "failure" if one.number % 5 == 0 else "success"), ("lint", "success"))
    )
    return Crowd(tasks=made)
