"""The built-in forge: pull requests, reviews and checks are our rows, branches and merges are the plain git remote's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from orchestrator.models import Comment, Project, PullRequest, PushIntent, Task
from orchestrator.ports import Proposal, PullRequestSeen, PullState, Refused, Unavailable
from workers.git.mirror import Mirror
from workers.git.program import Deadline

_TRIES = 3  # how often a merge is made anew in one call because the base moved meanwhile


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalForge:
    """The SCM port for a project whose remote is a plain git repository."""

    project: Project
    mirror: Mirror

    def observe(
        self,
        numbers: Sequence[int],
        *,
        told: Mapping[int, datetime | None] | None = None,
        for_a_write: bool = False,
        timeout: float = 30,
    ) -> Sequence[PullRequestSeen]:
        """What the remote's branches say of these pull requests. A change merged or a branch pushed by hand is the truth, too."""
        del told, for_a_write
        at = timezone.now()  # before anything is read: what changes while we look is newer than this look
        base = self.mirror.fetch(self.project.default_branch, timeout=timeout)
        rows = PullRequest.objects.filter(project=self.project, number__in=numbers)
        return [self._look(row, base, at=at, timeout=timeout) for row in rows]

    def _look(self, row: PullRequest, base: str, *, at: datetime, timeout: float) -> PullRequestSeen:
        if row.state != PullState.OPEN:
            merged_sha = row.merged_sha or None
            return self._seen(
                row, head=row.head_sha, base=base, state=PullState(row.state), merged_sha=merged_sha, at=at
            )
        merged = self._merged(row.task, row.head_sha, base)
        if merged is not None:
            return self._seen(row, head=row.head_sha, base=base, state=PullState.MERGED, merged_sha=merged, at=at)
        head = self.mirror.remote_sha(row.branch, timeout=timeout)
        if head is None:  # somebody deleted the branch: there is nothing left to merge
            return self._seen(row, head=row.head_sha, base=base, state=PullState.CLOSED, merged_sha=None, at=at)
        if not self.mirror.has(head):
            self.mirror.fetch(row.branch, timeout=timeout)
        return self._seen(row, head=head, base=base, state=PullState.OPEN, merged_sha=None, at=at)

    def _seen(
        self, row: PullRequest, *, head: str, base: str, state: PullState, merged_sha: str | None, at: datetime
    ) -> PullRequestSeen:
        open_now = state is PullState.OPEN
        conflicting = self.mirror.conflicts(base_sha=base, head_sha=head) if open_now else ()
        return PullRequestSeen(
            number=row.number,
            url=row.url,
            state=state,
            branch=row.branch,
            base_branch=row.base_branch,
            head_sha=head,
            base_sha=base,
            mergeable=not conflicting if open_now else None,
            conflict_files=conflicting,
            merged_sha=merged_sha,
            required_checks=None,
            checks=(),
            reviews=(),
            comments=(),
            observed_at=at,
        )

    def _merged(self, task: Task, head: str, base: str) -> str | None:
        """The commit by which the head came into the base: one that we meant to push, or whatever a person did."""
        meant = PushIntent.objects.filter(task=task, branch=self.project.default_branch).values_list(
            "new_sha", flat=True
        )
        for sha in meant:
            if self.mirror.has(sha) and self.mirror.is_ancestor(ancestor=sha, of=base):
                return sha
        return base if self.mirror.is_ancestor(ancestor=head, of=base) else None

    def open_pull_request(self, proposal: Proposal, *, timeout: float = 30) -> PullRequestSeen:
        """The pull request of a task has its number; the branch says which task it is."""
        row = PullRequest.objects.filter(project=self.project, branch=proposal.branch).order_by("-id").first()
        if row is None:
            task = Task.objects.get(project=self.project, branch=proposal.branch)
            row = PullRequest(
                project=self.project,
                task=task,
                number=task.number,
                url=f"/tasks/{task.pk}/",
                branch=proposal.branch,
                base_branch=proposal.base_branch,
                head_sha=proposal.head_sha,
            )
        at = timezone.now()
        base = self.mirror.fetch(self.project.default_branch, timeout=timeout)
        return self._look(row, base, at=at, timeout=timeout)

    def merge(self, number: int, *, head_sha: str, method: str, message: str, timeout: float = 45) -> str:
        """Merge in our mirror and push the base, which the remote takes only while nobody else moved it."""
        row = PullRequest.objects.select_related("task").get(project=self.project, number=number)
        deadline = Deadline.after(timeout)  # of all that follows together: a job has a minute
        for _ in range(_TRIES):
            base = self.mirror.fetch(self.project.default_branch, timeout=deadline.left())
            merged = row.merged_sha or self._merged(row.task, head_sha, base)
            if merged:
                return merged
            if row.state == PullState.CLOSED:
                raise Refused(f"!{number} was closed", code="overtaken")
            there = self.mirror.remote_sha(row.branch, timeout=deadline.left())
            if there != head_sha:
                raise Refused(
                    f"the head of !{number} moved from {head_sha[:10]} to {(there or 'nothing')[:10]}",
                    code="head-moved",
                )
            sha = self.mirror.merge_commit(
                base_sha=base,
                head_sha=head_sha,
                method=method,
                message=message,
                at=timezone.now(),
                timeout=deadline.left(),
            )
            PushIntent.objects.get_or_create(
                task=row.task, branch=self.project.default_branch, new_sha=sha, defaults={"old_sha": base}
            )
            if self._pushed(sha, base, timeout=deadline.left()):
                return sha
        raise Unavailable(f"{self.project.default_branch} moves faster than !{number} can be merged")

    def _pushed(self, sha: str, base: str, *, timeout: float) -> bool:
        try:
            self.mirror.push(self.project.default_branch, sha, expected=base, timeout=timeout)
        except Refused as refused:
            if refused.code == "diverged":
                return False
            if refused.code == "base-dirty":  # it waits until the checkout is clean, and says so
                raise Unavailable(str(refused)) from refused
            raise
        return True

    def withdraw(self, number: int, *, head_sha: str, timeout: float = 30) -> None:
        """Nothing is queued here: a merge is done or is not."""

    def rerun(self, number: int, *, head_sha: str, checks: Sequence[str], timeout: float = 30) -> None:
        """Its checks are begun by us and by nobody else."""
        del head_sha, checks, timeout
        raise Refused(f"the checks of !{number} are runs of ours: there is nobody to ask", code="cannot-rerun")

    def close(self, number: int, *, timeout: float = 30) -> None:
        """Close it unmerged; closing again does nothing."""
        del timeout
        PullRequest.objects.filter(project=self.project, number=number, state=PullState.OPEN).update(
            state=PullState.CLOSED
        )

    def delete_branch(self, branch: str, *, expected_sha: str, timeout: float = 30) -> None:
        self.mirror.delete_remote_branch(branch, expected_sha=expected_sha, timeout=timeout)

    def answer(
        self, number: int, *, thread: str, comment: str, marker: str, body: str, settle: bool, timeout: float = 30
    ) -> None:
        """A comment row in the thread, once per marker."""
        del comment, timeout
        row = PullRequest.objects.get(project=self.project, number=number)
        begun = row.comments.filter(thread=thread).order_by("id").first()
        if begun is None:
            return
        Comment.objects.get_or_create(
            pull_request=row,
            external_id=marker,
            defaults={
                "thread": thread,
                "author": "ao",
                "body": body,
                "path": begun.path,
                "line": begun.line,
                "resolved": begun.resolved,
                "ours": True,
                "created_at": timezone.now(),
            },
        )
        if settle:
            row.comments.filter(thread=thread).update(resolved=True)

    def comment(self, number: int, *, marker: str, body: str, timeout: float = 30) -> None:
        """A comment of ours, once per marker."""
        del timeout
        row = PullRequest.objects.get(project=self.project, number=number)
        Comment.objects.get_or_create(
            pull_request=row,
            external_id=marker,
            defaults={"thread": marker, "author": "ao", "body": body, "ours": True, "created_at": timezone.now()},
        )
