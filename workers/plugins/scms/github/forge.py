"""The SCM port on GitHub. Whatever changes something is looked up first and, where its answer was lost, looked up again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from typing import Any

from django.utils import timezone

from orchestrator.models import Project
from orchestrator.ports import Proposal, PullRequestSeen, Unavailable
from workers.git.mirror import Mirror
from workers.git.program import Deadline
from workers.plugins.scms.github import people, reruns
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.glances import Told
from workers.plugins.scms.github.looking import Looking
from workers.plugins.scms.github.merging import Merging
from workers.plugins.scms.github.words import Words

_EXISTS = re.compile(r"already exists", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubForge:
    """The forge of one project. `bots` are accounts whose words are a review bot's."""

    project: Project
    mirror: Mirror
    client: Client
    bots: frozenset[str] = people.REVIEW_BOTS

    @property
    def _looking(self) -> Looking:
        return Looking(project=self.project, mirror=self.mirror, client=self.client, bots=self.bots)

    def observe(
        self,
        numbers: Sequence[int],
        *,
        told: Mapping[int, datetime | None] | None = None,
        for_a_write: bool = False,
        timeout: float = 30,
    ) -> Sequence[PullRequestSeen]:
        """One query for up to a hundred pull requests, and one for up to fifty that have moved; the words of threads, the failing logs and
        the conflicting files only where they are new. Looking for its own sake comes after everything else that is asked of GitHub."""
        patient = replace(self._looking, client=replace(self.client, patient=not for_a_write))
        return patient.look(numbers, Deadline.after(timeout), told=Told(told))

    def rerun(self, number: int, *, head_sha: str, checks: Sequence[str], timeout: float = 30) -> None:
        """The failed jobs of their workflow runs, where they have not been begun again since."""
        del number, head_sha
        reruns.rerun(self.client, checks, Deadline.after(timeout))

    # --- pull requests ---

    def open_pull_request(self, proposal: Proposal, *, timeout: float = 30) -> PullRequestSeen:
        """Adopt what the branch has, else create it. A refusal or a lost answer may mean that it is there: it is looked up once more."""
        deadline, at = Deadline.after(timeout), timezone.now()
        number, created = self._of_branch(proposal), None
        if number is None:
            number, created = self._created(proposal, deadline)
        new = self._looking.new(created, deadline, at=at) if created is not None else None
        if new is not None:
            return new
        seen = self._looking.look([number], deadline)
        if not seen:
            raise Unavailable(f"GitHub does not show pull request {number} of {self.client.repository} yet")
        return seen[0]

    def _of_branch(self, proposal: Proposal, *, owner: str = "") -> int | None:
        """The newest pull request of the branch. `owner`: of the repository by its present name, where it may have another than is set."""
        head = f"{owner or self.client.repository.partition('/')[0]}:{proposal.branch}"
        asked = self.client.get("pulls", head=head, base=proposal.base_branch, state="all", per_page=100)
        listed = self.client.must(asked, doing="listing the pull requests of").body
        own = [int(one["number"]) for one in listed if _is_own(one)]
        return max(own, default=None)

    def _created(self, proposal: Proposal, deadline: Deadline) -> tuple[int, Mapping[str, Any] | None]:
        """Its number, and GitHub's answer to its creation; None where it was there after all."""
        content = {
            "title": proposal.title,
            "body": f"{proposal.body}\n\n<!-- {proposal.marker} -->",
            "head": proposal.branch,
            "base": proposal.base_branch,
        }
        try:
            answer = self.client.write("POST", "pulls", content)
        except Unavailable:
            deadline.left()
            there = self._of_branch(proposal)
            if there is None:
                raise
            return there, None
        if answer.ok:
            return int(answer.body["number"]), answer.body
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or _EXISTS.search(answer.message):
            there = self._of_branch(proposal, owner=self._owner())
            if there is not None:
                return there, None
        raise self.client.problem(answer, doing=f"opening a pull request for {proposal.branch} in")

    def _owner(self) -> str:
        return str(self.client.must(self.client.get(""), doing="reading").body["owner"]["login"])

    def merge(self, number: int, *, head_sha: str, method: str, message: str, timeout: float = 45) -> str:
        """By sha; `Unavailable` as long as the merge queue has it."""
        merging, deadline = Merging(looking=self._looking), Deadline.after(timeout)
        return merging.merge(number, head_sha=head_sha, method=method, message=message, deadline=deadline)

    def withdraw(self, number: int, *, head_sha: str, timeout: float = 30) -> None:
        """What is queued by us is taken out of the merge queue."""
        del timeout
        Merging(looking=self._looking).withdraw(number, head_sha=head_sha)

    def close(self, number: int, *, timeout: float = 30) -> None:
        """Closing what is closed or merged does nothing."""
        del timeout
        answer = self.client.write("PATCH", f"pulls/{number}", {"state": "closed"})
        if not answer.ok and answer.status != HTTPStatus.UNPROCESSABLE_ENTITY:
            raise self.client.problem(answer, doing=f"closing #{number} of")

    def delete_branch(self, branch: str, *, expected_sha: str, timeout: float = 30) -> None:
        """By git, whose lease is checked where the branch lives."""
        self.mirror.delete_remote_branch(branch, expected_sha=expected_sha, timeout=timeout)

    # --- words ---

    def comment(self, number: int, *, marker: str, body: str, timeout: float = 30) -> None:
        """A comment of ours below the pull request, once per marker."""
        Words(client=self.client).comment(number, marker=marker, body=body, deadline=Deadline.after(timeout))

    def answer(
        self, number: int, *, thread: str, comment: str, marker: str, body: str, settle: bool, timeout: float = 30
    ) -> None:
        """A reply in a thread, once per marker."""
        Words(client=self.client).answer(
            number,
            thread=thread,
            comment=comment,
            marker=marker,
            body=body,
            settle=settle,
            deadline=Deadline.after(timeout),
        )


def _is_own(pull: Mapping[str, Any]) -> bool:
    """Whether its branch is in the repository itself. One that is gone was in a fork, as far as anybody knows."""
    there = pull["head"]["repo"]
    return there is not None and there["id"] == pull["base"]["repo"]["id"]
