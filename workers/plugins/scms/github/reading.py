"""GitHub's nodes as the port's values. Nothing is asked of anybody here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orchestrator.domain.failures import Failure, failure_of
from orchestrator.ports import CheckSeen, CommentSeen, PullState, ReviewSeen

_DECISIONS = {
    "APPROVED": "approve",
    "CHANGES_REQUESTED": "request_changes",
    "COMMENTED": "comment",
    "DISMISSED": "dismissed",
}
_STATUS_ENDS = {"SUCCESS": "success", "FAILURE": "failure", "ERROR": "failure"}
GONE = "ghost"  # how GitHub itself calls authors whose account was deleted


BOT_MARK = "[bot]"


def named(login: str, bots: Iterable[str]) -> bool:
    """Whether the project means this account, with or without the mark that apps carry in some places."""
    return login.removesuffix(BOT_MARK).casefold() in {bot.removesuffix(BOT_MARK).casefold() for bot in bots}


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who wrote something. `bot`: an app, or an account that the project names as one."""

    login: str
    bot: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whose words count: asked at most once for each of them."""

    may_write: Callable[[Author], bool]
    bots: frozenset[str]
    own: str

    def author(self, node: Mapping[str, Any] | None) -> Author:
        if node is None:
            return Author(login=GONE, bot=False)
        login = str(node["login"])
        return Author(
            login=login, bot=node["__typename"] == "Bot" or login.endswith(BOT_MARK) or named(login, self.bots)
        )


def state(node: Mapping[str, Any]) -> PullState:
    return PullState(str(node["state"]).lower())


def head_contexts(node: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What was reported on the head; None where nothing was, or where the head has moved within this very answer."""
    rollup = node["statusCheckRollup"]
    if rollup is None or rollup["commit"]["oid"] != node["headRefOid"]:
        return None
    return dict(rollup["contexts"])


def checks(contexts: Iterable[Mapping[str, Any]], *, head_sha: str) -> list[CheckSeen]:
    """The newest run of each name: an older one was run again."""
    newest: dict[str, CheckSeen] = {}
    for context in contexts:
        seen = _run(context, head_sha) if context["__typename"] == "CheckRun" else _status(context, head_sha)
        known = newest.get(seen.name)
        if known is None or _age(known) <= _age(seen):
            newest[seen.name] = seen
    return list(newest.values())


def _age(seen: CheckSeen) -> tuple[bool, str, int]:
    """Later runs are larger: those that have not started are the latest of all."""
    started = seen.started_at.isoformat() if seen.started_at else ""
    return seen.started_at is None, started, int(seen.id) if seen.id.isdigit() else 0


def _run(context: Mapping[str, Any], head_sha: str) -> CheckSeen:
    status = str(context["status"]).lower()
    known = status if status in {"queued", "in_progress", "completed"} else "queued"
    conclusion = str(context["conclusion"]).lower() if context["conclusion"] else None
    return CheckSeen(
        id=str(context["databaseId"]),
        name=str(context["name"]),
        head_sha=head_sha,
        status=known,
        conclusion=conclusion if known == "completed" else None,
        url=str(context["detailsUrl"] or ""),
        started_at=moment(context["startedAt"]),
        completed_at=moment(context["completedAt"]),
    )


def _status(context: Mapping[str, Any], head_sha: str) -> CheckSeen:
    conclusion = _STATUS_ENDS.get(str(context["state"]))
    at = moment(context["createdAt"])
    said = failure_of(output=str(context["description"] or "")) if conclusion == "failure" else Failure()
    return CheckSeen(
        id=str(context["id"]),
        name=str(context["context"]),
        head_sha=head_sha,
        status="completed" if conclusion else "in_progress",
        conclusion=conclusion,
        url=str(context["targetUrl"] or ""),
        failing_log=said.part,
        fingerprint=said.fingerprint,
        headline=said.headline,
        started_at=at,
        completed_at=at if conclusion else None,
    )


def reviews(node: Mapping[str, Any], trust: Trust) -> list[ReviewSeen]:
    """The submitted reviews, oldest first. Our own account's approvals are nobody's."""
    found = []
    for review in node["reviews"]["nodes"]:
        decision, submitted = _DECISIONS.get(str(review["state"])), moment(review["submittedAt"])
        if decision is None or submitted is None:
            continue
        author = trust.author(review["author"])
        found.append(
            ReviewSeen(
                id=str(review["fullDatabaseId"]),
                author=author.login,
                decision=decision,
                head_sha=str(review["commit"]["oid"]) if review["commit"] else "",
                body=str(review["body"]),
                submitted_at=submitted,
                trusted=author.login != trust.own and trust.may_write(author),
                bot=author.bot,
            )
        )
    return found


def comments(threads: Iterable[Mapping[str, Any]], trust: Trust) -> list[CommentSeen]:
    """What was said in review threads."""
    found = []
    for thread in threads:
        for comment in thread["comments"]["nodes"]:
            author, created = trust.author(comment["author"]), moment(comment["createdAt"])
            if created is None:
                continue
            ours = author.login == trust.own
            found.append(
                CommentSeen(
                    id=str(comment["fullDatabaseId"]),
                    thread=str(thread["id"]),
                    author=author.login,
                    body=str(comment["body"]),
                    path=str(thread["path"]),
                    line=thread["line"],
                    created_at=created,
                    resolved=bool(thread["isResolved"]),
                    trusted=not ours and trust.may_write(author),
                    bot=author.bot,
                    ours=ours,
                )
            )
    return found


def moment(text: str | None) -> datetime | None:
    """An instant as GitHub writes it."""
    return datetime.fromisoformat(text) if text else None
