"""One call to GitHub at a time: what it answers, as values, or one of the two errors that cross a port."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import requests
from github import Auth, Github
from github.GithubException import GithubException

from orchestrator.ports import LimitReached, PortError, Refused, Unavailable
from workers.plugins.scms.github.budget import Budget

API = "https://api.github.com"
ONE_CALL = 15  # seconds
DOORS = 32  # connections that a thread keeps
KNOWN_FOR = 3600.0  # seconds for which a present name is used without asking
_MOVED: dict[tuple[str, str], tuple[str, float]] = {}  # by API and name: the present name, and until when it is used
_ELSEWHERE = {HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT}
_SECONDARY = re.compile(r"secondary rate limit|abuse detection|too many requests", re.IGNORECASE)
_SECONDARY_WAIT = timedelta(minutes=1)  # what GitHub asks for where it names no time
_FOR_GOOD = {"FORBIDDEN", "INSUFFICIENT_SCOPES", "UNPROCESSABLE"}  # kinds of errors that come again
_PRINTABLE = re.compile(r"[^\x20-\x7e]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What GitHub said: `body` is the JSON value, None where there was none."""

    status: int
    headers: Mapping[str, str]
    body: Any

    @property
    def ok(self) -> bool:
        return self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def message(self) -> str:
        """GitHub's own words for what is wrong, in one printable line."""
        if not isinstance(self.body, dict):
            return f"status {self.status}"
        details = [
            str(error.get("message") or error.get("code")) if isinstance(error, dict) else str(error)
            for error in self.body.get("errors") or ()
        ]
        words = " ".join([str(self.body.get("message", f"status {self.status}")), *details])
        return _PRINTABLE.sub(" ", words)[:300]


class _Doors(threading.local):
    """PyGithub's clients of this thread: they keep their connection, and are not made to be shared."""

    def __init__(self) -> None:
        self.open: dict[tuple[str, str], Github] = {}


_DOORS = _Doors()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The API at `api_url` for `repository` (OWNER/NAME). `token` is asked for at each call; `named` says where people set it. What a `patient`
    one asks comes after everything else where GitHub's patience runs short.

    Nothing is tried twice here: what changes something may have happened although its answer was lost, which only a look can tell.
    """

    repository: str
    token: Callable[[], str | None]
    api_url: str = API
    named: str = "GITHUB_TOKEN"
    budget: Budget
    patient: bool = False

    def get(self, path: str, **parameters: str | int) -> Answer:
        given = {key: str(value) for key, value in parameters.items()}
        answer = self._call("GET", self._url(path), parameters=given)
        if parameters and self._speaks_of_another(answer.body) and self._has_moved():
            # PyGithub goes where GitHub points to, and leaves the parameters behind: this was another question.
            return self._call("GET", self._url(path), parameters=given)
        return answer

    def write(self, verb: str, path: str, content: Mapping[str, object] | None = None) -> Answer:
        """Change something; the answer is the caller's to judge, also where it is a refusal. What is written to the former name of a repository
        is not done: look-ups and writes have to begin anew under its present one."""
        answer = self._call(verb, self._url(path), content=content, writes=True)
        if answer.status in _ELSEWHERE and self._has_moved():
            raise Unavailable(
                f"GitHub has moved {self.repository} to {self._present}, where we look from now on: give the project its new address"
            )
        return answer

    def graphql(self, query: str, variables: Mapping[str, object], *, writes: bool = False) -> Mapping[str, Any]:
        """The `data` of a query. Parts that GitHub could not answer are null in it; without any data, or where what `writes` was not done, its
        words are the error. Refused codes of the latter: `gone`, `not-allowed`."""
        content = {"query": query, "variables": dict(variables)}
        answer = self.must(self._call("POST", "graphql", content=content, writes=writes), doing="asking")
        data, errors = answer.body.get("data"), answer.body.get("errors") or []
        kinds = {str(error.get("type")) for error in errors}
        if "RATE_LIMITED" in kinds:
            raise self._slow_down(answer, "GitHub's limit for queries is used up")
        said = _PRINTABLE.sub(" ", "; ".join(str(error.get("message")) for error in errors))[:300]
        if not isinstance(data, dict):
            raise Unavailable(f"GitHub answered without data: {said or 'no reason given'}")
        if writes and None in data.values():
            raise _not_done(kinds, said)
        return data

    def of_repository(self, query: str, **variables: object) -> Mapping[str, Any]:
        """The repository's part of the answer to a query. Refused code: `no-repository`."""
        owner, _, name = self.repository.partition("/")
        repository = self.graphql(query, {"owner": owner, "name": name, **variables})["repository"]
        if repository is None:
            raise Refused(
                f"GitHub shows no repository {self.repository}: it was renamed or deleted, or the token may not see it",
                code="no-repository",
            )
        return dict(repository)

    def must(self, answer: Answer, *, doing: str) -> Answer:
        """The answer itself where it is a success; raises what it stands for otherwise."""
        if answer.ok:
            return answer
        raise self.problem(answer, doing=doing)

    def problem(self, answer: Answer, *, doing: str) -> PortError:
        """The error that an answer stands for. Refused codes: `no-access`, `no-repository`, `not-allowed`."""
        sentence = f"{doing} {self.repository} failed: {answer.message}"
        match answer.status:
            case HTTPStatus.UNAUTHORIZED:
                return Refused(
                    f"GitHub does not take the token for {self.repository} (any more): make a new one and set {self.named}",
                    code="no-access",
                )
            case HTTPStatus.FORBIDDEN | HTTPStatus.TOO_MANY_REQUESTS:
                return self._forbidden(answer, sentence)
            case HTTPStatus.NOT_FOUND | HTTPStatus.GONE | HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS:
                return Refused(
                    f"{sentence}. Either it is not there (renamed, deleted) or the token may not see it",
                    code="no-repository",
                )
            case status if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                return Unavailable(sentence)
        return Refused(sentence, code="not-allowed")

    # --- inside ---

    def _url(self, path: str) -> str:
        return path if path.startswith(("/", "http")) else f"/repos/{self._present}/{path}".rstrip("/")

    @property
    def _present(self) -> str:
        """What the repository is called now, as far as we know."""
        name, until = _MOVED.get((self.api_url, self.repository), (self.repository, 0.0))
        return name if time.monotonic() < until else self.repository

    def _speaks_of_another(self, body: Any) -> bool:
        """Whether an answer is about something in a repository of another name."""
        first = body[0] if isinstance(body, list) and body else body
        url = first.get("url") if isinstance(first, dict) else None
        start = f"{self.api_url}/repos/"
        if not isinstance(url, str) or not url.startswith(start):
            return False
        return "/".join(url.removeprefix(start).split("/")[:2]).lower() != self._present.lower()

    def _has_moved(self) -> bool:
        """Ask for the repository's present name, and use it for a while: somebody else may get the former one."""
        body = self._call("GET", f"/repos/{self.repository}").body
        name = body.get("full_name") if isinstance(body, dict) else None
        if not isinstance(name, str) or name.lower() == self._present.lower():
            return False
        _MOVED[self.api_url, self.repository] = (name, time.monotonic() + KNOWN_FOR)
        return True

    def _call(
        self,
        verb: str,
        url: str,
        *,
        parameters: Mapping[str, str] | None = None,
        content: Mapping[str, object] | None = None,
        writes: bool = False,
    ) -> Answer:
        door = self._door()
        self.budget.take(writes=writes, patient=self.patient, resource="graphql" if url == "graphql" else "core")
        try:
            status, headers, text = door.requester.requestJson(
                verb,
                door.requester.graphql_url if url == "graphql" else url,
                parameters=dict(parameters or {}),
                input=dict(content) if content is not None else None,
            )
        except (requests.RequestException, GithubException, RuntimeError, OSError) as error:
            raise Unavailable(
                f"GitHub cannot be reached at {self.api_url}: {_PRINTABLE.sub(' ', str(error))[:200]}"
            ) from error
        self.budget.learn(headers)
        return Answer(status=status, headers=headers, body=_value(text))

    def _door(self) -> Github:
        token = self.token()
        if not token:
            raise Refused(
                f"there is no token for {self.repository}: set {self.named} where the workers run", code="no-access"
            )
        key = (self.api_url, token)
        if key not in _DOORS.open:
            if len(_DOORS.open) >= DOORS:  # tokens of apps come and go
                _DOORS.open.clear()
            _DOORS.open[key] = Github(
                auth=Auth.Token(token),
                base_url=self.api_url,
                timeout=ONE_CALL,
                retry=None,
                seconds_between_requests=None,
                seconds_between_writes=None,
            )
        return _DOORS.open[key]

    def _forbidden(self, answer: Answer, sentence: str) -> PortError:
        headers = answer.headers
        if (
            headers.get("x-ratelimit-remaining") == "0"
            or headers.get("retry-after")
            or _SECONDARY.search(answer.message)
        ):
            return self._slow_down(answer, sentence)
        missing = _missing_scopes(headers)
        if missing:
            return Refused(
                f"{sentence}. The token has not the scope {' or '.join(missing)}: give it one and set {self.named}",
                code="no-access",
            )
        return Refused(sentence, code="not-allowed")

    def _slow_down(self, answer: Answer, sentence: str) -> LimitReached:
        """GitHub asks for patience, of everybody who uses this token."""
        wait = _seconds(answer.headers.get("retry-after"))
        reset = _seconds(answer.headers.get("x-ratelimit-reset"))
        if wait is None and reset is not None and answer.headers.get("x-ratelimit-remaining") == "0":
            wait = max(1, reset - int(time.time()))
        span = timedelta(seconds=wait) if wait is not None else _SECONDARY_WAIT
        self.budget.rest(span)
        return LimitReached(sentence, retry_after=span)


def _not_done(kinds: AbstractSet[str], said: str) -> PortError:
    """Why a mutation did nothing. All other kinds are trouble of GitHub's own."""
    if "NOT_FOUND" in kinds:
        return Refused(f"GitHub knows nothing of it: {said}", code="gone")
    if kinds & _FOR_GOOD:
        return Refused(f"GitHub does not do it: {said}", code="not-allowed")
    return Unavailable(f"GitHub did not do it: {said or 'no reason given'}")


def _missing_scopes(headers: Mapping[str, str]) -> list[str]:
    """Those that would do, by GitHub's own list, where the token has none of them."""
    accepted = [scope for scope in headers.get("x-accepted-oauth-scopes", "").split(", ") if scope]
    has = set(headers.get("x-oauth-scopes", "").split(", "))
    return [] if has & set(accepted) else accepted


def _seconds(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _value(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
