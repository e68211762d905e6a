"""GitHub's issues as a tracker."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from orchestrator.ports import Issue, Refused
from workers.plugins.scms.github import people
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.reading import GONE, Author


@dataclass(frozen=True, slots=True, kw_only=True)
class GitHubTracker:
    """The Tracker port. `bots` are accounts whose words are a bot's."""

    client: Client
    bots: frozenset[str]

    def issue(self, reference: str, *, timeout: float = 30) -> Issue:
        """Refused code: `no-issue`, also where the number is a pull request's."""
        del timeout
        answer = self.client.get(f"issues/{int(reference.lstrip('#'))}")
        if answer.status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE} or (answer.ok and "pull_request" in answer.body):
            raise Refused(f"{self.client.repository} has no issue {reference}", code="no-issue")
        found: dict[str, Any] = self.client.must(answer, doing=f"reading the issue {reference} of").body
        user = found["user"] or {"login": GONE, "type": "User"}
        login = str(user["login"]).removesuffix("[bot]")
        author = Author(login=login, bot=user["type"] == "Bot" or login in self.bots)
        return Issue(
            id=str(found["number"]),
            title=str(found["title"]),
            body=str(found["body"] or ""),
            state=str(found["state"]),
            labels=tuple(str(label["name"] if isinstance(label, dict) else label) for label in found["labels"]),
            url=str(found["html_url"]),
            author=author.login,
            trusted=people.may_write(self.client, author, bots=self.bots),
        )
