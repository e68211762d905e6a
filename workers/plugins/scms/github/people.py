"""Who may direct an agent: asked of GitHub, remembered for a while, no where it does not say yes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from workers.plugins.scms.github import queries
from workers.plugins.scms.github.client import Client
from workers.plugins.scms.github.reading import GONE, Author, named

REMEMBERED = 600.0  # seconds
_MAY_WRITE = frozenset({"admin", "maintain", "write"})
# Apps that review changes, by their logins. A project that names its own bots means these alone.
REVIEW_BOTS = frozenset(
    {
        "cursor",
        "coderabbitai",
        "copilot-pull-request-reviewer",
        "github-advanced-security",
        "greptile-apps",
        "sonarqubecloud",
    }
)


@dataclass(slots=True)
class Memory:
    """Answers that hold for a while, of this process."""

    span: float = REMEMBERED
    _known: dict[Hashable, tuple[float, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def recall(self, key: Hashable, ask: Callable[[], Any]) -> Any:
        """What is known, else what the call answers now."""
        with self._lock:
            until, value = self._known.get(key, (0.0, None))
        if until > time.monotonic():
            return value
        value = ask()
        with self._lock:
            self._known[key] = (time.monotonic() + self.span, value)
        return value

    def forget(self) -> None:
        """Ask anew from here on."""
        with self._lock:
            self._known.clear()


MEMORY = Memory()


def may_write(client: Client, author: Author, *, bots: frozenset[str]) -> bool:
    """Whether the author may push to the repository. An app counts where the project or the list of review apps names it."""
    if author.bot:
        return named(author.login, bots)
    if author.login == GONE:
        return False
    return bool(
        MEMORY.recall(
            ("may-write", client.api_url, client.repository, author.login), lambda: _asked(client, author.login)
        )
    )


def _asked(client: Client, login: str) -> bool:
    answer = client.get(f"collaborators/{quote(login, safe='')}/permission")
    if not answer.ok and answer.status not in {403, 404}:
        raise client.problem(answer, doing=f"asking what {login} may do in")
    return answer.ok and answer.body.get("permission") in _MAY_WRITE


def required_checks(client: Client, branch: str) -> tuple[str, ...] | None:
    """The checks that GitHub demands before a merge into the branch, by rules and by protection; None where it does not say."""
    return MEMORY.recall(("required", client.api_url, client.repository, branch), lambda: _required(client, branch))  # type: ignore[no-any-return]


def _required(client: Client, branch: str) -> tuple[str, ...] | None:
    named = quote(branch, safe="")
    rules, row = client.get(f"rules/branches/{named}", per_page=100), client.get(f"branches/{named}")
    for answer in (rules, row):
        # A bad moment is no word on what is demanded: it must not be remembered as "nothing".
        if not answer.ok and answer.status not in {403, 404}:
            raise client.problem(answer, doing=f"asking what {branch} demands of")
    if not rules.ok and not row.ok:
        return None
    found: list[str] = []
    for rule in rules.body if rules.ok else ():
        if rule.get("type") == "required_status_checks":
            found += [str(check["context"]) for check in rule["parameters"]["required_status_checks"]]
    if row.ok:
        found += ((row.body.get("protection") or {}).get("required_status_checks") or {}).get("contexts") or []
    return tuple(dict.fromkeys(found))


def viewer(client: Client) -> str:
    """Who we are there, as authors are called: an app without the mark of one."""
    login = str(
        MEMORY.recall(("viewer", client.budget.name), lambda: client.graphql(queries.VIEWER, {})["viewer"]["login"])
    )
    return login.removesuffix("[bot]")
