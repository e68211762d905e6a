"""GitHub's issues as a tracker."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from orchestrator.ports import Issue, Refused, Unavailable
from workers.plugins.scms.github import people
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.reading import GONE, Author

PAGE = 100
MOST_PAGES = 20  # two thousand open issues: the oldest come first, and the rest when these are done
_PRIORITY = re.compile(r"(?:priority[:/ -]*p?|p)([1-4])", re.IGNORECASE)
_BLOCKED = re.compile(r"^\s*(?:[-*]\s*)?blocked by:?\s+#([1-9][0-9]{0,8})\b", re.IGNORECASE | re.MULTILINE)


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
        return self._issue(found)

    def candidates(self, *, labels: Sequence[str], timeout: float = 45) -> Sequence[Issue]:
        """Page by page, oldest first. Pull requests, which GitHub lists with the issues, are left out."""
        deadline = time.monotonic() + timeout
        named = {"labels": ",".join(labels)} if labels else {}
        found: list[Issue] = []
        for page in range(1, MOST_PAGES + 1):
            answer = self.client.get(
                "issues", state="open", sort="created", direction="asc", per_page=PAGE, page=page, **named
            )
            rows = self.client.must(answer, doing="listing the issues of").body
            if not isinstance(rows, list):
                raise Unavailable(f"GitHub's list of the issues of {self.client.repository} cannot be read")
            found += [self._issue(row) for row in rows if "pull_request" not in row]
            if len(rows) < PAGE:
                break
            if time.monotonic() > deadline:
                raise Unavailable(f"the issues of {self.client.repository} could not be listed in {timeout:.0f} s")
        return found

    def refresh(self, ids: Sequence[str], *, timeout: float = 45) -> Sequence[Issue]:
        """One question for each."""
        deadline = time.monotonic() + timeout
        found: dict[str, Issue] = {}
        for one in dict.fromkeys(ids):
            if time.monotonic() > deadline:
                raise Unavailable(f"the issues of {self.client.repository} could not be read in {timeout:.0f} s")
            try:
                found[one] = self.issue(one)
            except Refused as refused:
                if refused.code != "no-issue":
                    raise
        return list(found.values())

    def _issue(self, found: Mapping[str, Any]) -> Issue:
        user = found["user"] or {"login": GONE, "type": "User"}
        login = str(user["login"]).removesuffix("[bot]")
        author = Author(login=login, bot=user["type"] == "Bot" or login in self.bots)
        labels = tuple(str(label["name"] if isinstance(label, dict) else label) for label in found["labels"])
        body = str(found["body"] or "")
        return Issue(
            id=str(found["number"]),
            identifier=f"#{found['number']}",
            title=str(found["title"]),
            body=body,
            state=str(found["state"]),
            labels=labels,
            url=str(found["html_url"]),
            author=author.login,
            trusted=people.may_write(self.client, author, bots=self.bots),
            priority=_priority(labels),
            assignee=str((found.get("assignee") or {}).get("login", "")),
            blocked_by=tuple(_BLOCKED.findall(body)),
            created_at=_instant(found.get("created_at")),
            updated_at=_instant(found.get("updated_at")),
        )


def _priority(labels: Sequence[str]) -> int | None:
    """GitHub knows no priority: teams say it with a label such as `p1` or `priority: 2`. The most urgent one counts."""
    said = [int(found[1]) for label in labels if (found := _PRIORITY.fullmatch(label.strip()))]
    return min(said, default=None)


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None
