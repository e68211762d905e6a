"""What we say on a pull request: each once, by a mark that is looked for before and where an answer was lost."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from orchestrator.ports import Refused, Unavailable
from workers.git.program import Deadline
from workers.plugins.scms.github import queries
from workers.plugins.scms.github.client import Answer, Client

_NOT_ITS_FIRST = {HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY}  # what is said to a reply to such a comment
PAGES = 10  # of a hundred remarks each


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """Ours, on the pull requests of one repository."""

    client: Client

    def comment(self, number: int, *, marker: str, body: str, deadline: Deadline) -> None:
        """A comment of ours below the pull request, once per marker."""
        below = f"issues/{number}/comments"
        answer = self._say(body, marker, to=below, among=below, deadline=deadline)
        if answer is not None and not answer.ok:
            raise self.client.problem(answer, doing=f"commenting on #{number} of")

    def answer(
        self, number: int, *, thread: str, comment: str, marker: str, body: str, settle: bool, deadline: Deadline
    ) -> None:
        """What is said in threads is listed first, and once more where the reply's answer was lost: by REST, whose limit looks do not need."""
        said = f"pulls/{number}/comments"
        answer = self._say(body, marker, to=f"{said}/{comment}/replies", among=said, deadline=deadline)
        if answer is not None and answer.status in _NOT_ITS_FIRST:
            self._reply(thread, _marked(body, marker))
        elif answer is not None and not answer.ok:
            raise self.client.problem(answer, doing=f"answering a thread of #{number} of")
        if settle:
            self._settle(thread)

    def _reply(self, thread: str, body: str) -> None:
        """In a thread whose first comment was deleted, or is not known. In one that is gone nothing is to be said."""
        try:
            self.client.graphql(queries.REPLY, {"thread": thread, "body": body}, writes=True)
        except Refused as refused:
            if refused.code != "gone":
                raise

    def _settle(self, thread: str) -> None:
        """Settling what is settled, or gone, does nothing. Whose token may not settle leaves it open, which the next look shows."""
        try:
            self.client.graphql(queries.RESOLVE, {"thread": thread}, writes=True)
        except Refused as refused:
            if refused.code not in {"gone", "not-allowed"}:
                raise

    def _say(self, body: str, marker: str, *, to: str, among: str, deadline: Deadline) -> Answer | None:
        """Post these words, unless they are among what was said; None: they are there. A refusal is the caller's to judge."""
        hidden = _mark(marker)
        if self._said(hidden, among, deadline):
            return None
        try:
            answer = self.client.write("POST", to, {"body": _marked(body, marker)})
        except Unavailable:
            if self._said(hidden, among, deadline):
                return None
            raise
        lost = answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return None if lost and self._said(hidden, among, deadline) else answer

    def _said(self, hidden: str, among: str, deadline: Deadline) -> bool:
        for page in range(1, PAGES + 1):
            deadline.left()
            asked = self.client.get(among, sort="created", direction="desc", per_page=100, page=page)
            answer = self.client.must(asked, doing="reading the comments of")
            if any(hidden in str(one.get("body")) for one in answer.body):
                return True
            if len(answer.body) < 100:
                return False
        return False


def _mark(marker: str) -> str:
    return f"<!-- {marker} -->"


def _marked(body: str, marker: str) -> str:
    return f"{body}\n\n{_mark(marker)}"
