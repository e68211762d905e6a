"""The address of this GitHub: who asks, how much they may ask, faults on demand; REST, GraphQL and git over HTTP."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.fakegithub.contract import Contract, contract
from tests.fakegithub.graph import Graph
from tests.fakegithub.quota import LIMIT, Quota, points
from tests.fakegithub.rest import ABSENT, Call, Rest
from tests.fakegithub.views import Views
from tests.fakegithub.world import FULL, ROBOT, ROBOT_TOKEN, World, clock

_MUTATION = re.compile(r"^\s*mutation\b", re.MULTILINE)
_OPERATION = re.compile(r"(?:query|mutation) (\w+)")
Headers = list[tuple[str, str]]


NO_ANSWER = 0


@dataclass(slots=True, kw_only=True)
class Fault:
    """What goes wrong with the next `times` requests whose "METHOD path" (and name of the query) matches: before the effect, or after it.
    With the status `NO_ANSWER` the line is cut."""

    match: str
    status: int
    times: int = 1
    after_the_effect: bool = False
    message: str = "Server Error"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Weather:
    """A bad day: so many of all requests get a 502, half of them after their effect."""

    seed: int
    share: float
    struck: int = 0
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)

    def strikes(self, *, after: bool) -> Fault | None:
        if self._dice.random() >= self.share / 2:
            return None
        self.struck += 1
        return Fault(match="", status=502, after_the_effect=after)


@dataclass(slots=True)
class FakeGitHub:
    """A running server. `world` is the door for the people of a scenario; `asked` is what the API was asked, in order."""

    world: World
    base: str
    judge: Contract
    rest: Rest
    graph: Graph
    root: Path
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    queries: list[str] = field(default_factory=list)
    weather: Weather | None = None
    latency: float = 0.0  # seconds that each answer takes
    quota: Quota = field(default_factory=Quota)
    neighbours: dict[str, FakeGitHub] = field(
        default_factory=dict
    )  # other repositories at the same address, by OWNER/NAME

    @property
    def clone_url(self) -> str:
        return f"{self.base}/{self.world.full}.git"

    def repository(self, full: str) -> FakeGitHub | None:
        """The one that is asked about."""
        return self if full == self.world.full else self.neighbours.get(full)

    def moved_to(self, path: str, query: Mapping[str, str]) -> str | None:
        """Where a path under the former name is found now."""
        start = f"/repos/{self.world.former}"
        if not self.world.former or not f"{path}/".startswith(f"{start}/"):
            return None
        asked = f"?{urllib.parse.urlencode(query)}" if query else ""
        return f"{self.base}/repositories/1{path.removeprefix(start)}{asked}"

    def rename(self, full: str) -> None:
        """Its owner gives it another name."""
        self.world.former, self.world.full = self.world.full, full

    def meant(self, variables: Mapping[str, Any]) -> FakeGitHub:
        """The repository that a query is about, by its name or by the threads that it names."""
        there = self.repository(f"{variables.get('owner')}/{variables.get('name')}")
        threads = [*variables.get("ids", ()), variables.get("thread")]
        holders = (one for one in self.neighbours.values() if any(name in one.world.threads for name in threads))
        return there or next(holders, self)

    def fail(self, match: str, status: int, **more: Any) -> None:
        """Let the next matching request go wrong."""
        self.faults.append(Fault(match=match, status=status, **more))

    def planned(self, what: str, *, after: bool) -> Fault | None:
        """What a test wants to go wrong with this request."""
        with self.world.lock:
            for one in self.faults:
                if one.after_the_effect == after and re.search(one.match, what):
                    one.times -= 1
                    if one.times <= 0:
                        self.faults.remove(one)
                    return one
            return None

    def fault(self, what: str, *, after: bool) -> Fault | None:
        """What goes wrong with this request of the API, planned or by the day's weather."""
        planned = self.planned(what, after=after)
        return planned or (self.weather.strikes(after=after) if self.weather is not None else None)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two writes, and the second would wait for 40 ms
    wbufsize = -1
    github: FakeGitHub

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def _answer(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(parts.path).removeprefix("/api/v3")
        body = self._body()
        if ".git/" in path:
            self._git(path, parts.query, body)
        elif path.startswith("/_logs/"):
            self._log(int(path.rpartition("/")[2]))
        else:
            self._api(path, dict(urllib.parse.parse_qsl(parts.query)), body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class's names

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline(), 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def _who(self) -> str | None:
        words = self.headers.get("authorization", "").split()
        if len(words) != 2:
            return None
        given = base64.b64decode(words[1]).decode().partition(":")[2] if words[0].lower() == "basic" else words[1]
        return self.github.world.tokens.get(given)

    def _say(self, status: int, body: bytes, headers: Headers, kind: str = "application/json; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in [("content-type", kind), ("content-length", str(len(body))), *headers]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _say_json(self, status: int, body: Any, headers: Headers) -> None:
        self._say(status, b"" if body is None else json.dumps(body).encode(), headers)

    def _go_wrong(self, fault: Fault, headers: Headers) -> None:
        if fault.status == NO_ANSWER:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._say_json(fault.status, {"message": fault.message}, [*headers, *fault.headers.items()])

    # --- the API ---

    def _api(self, path: str, query: dict[str, str], raw: bytes) -> None:
        github, what = self.github, f"{self.command} {path}"
        path = re.sub(r"^/repositories/1(?=/|$)", f"/repos/{github.world.full}", path)
        github.asked.append(what)
        time.sleep(github.latency)
        who = self._who()
        if who is None:
            self._say_json(401, {"message": "Bad credentials", "documentation_url": "https://docs.github.com/rest"}, [])
            return
        resource = "graphql" if path == "/graphql" else "core"
        named = _OPERATION.search(raw.decode()) if resource == "graphql" else None
        what = f"{what} {named[1]}" if named else what
        fault = github.fault(what, after=False)
        if fault is not None:
            self._go_wrong(fault, self._limits(resource))
            return
        content = json.loads(raw) if raw else None
        elsewhere = github.moved_to(path, query)
        if elsewhere is not None:
            status, message = 301 if self.command == "GET" else 307, "Moved Permanently"
            self._say_json(status, {"message": message, "url": elsewhere}, [("location", elsewhere)])
            return
        with github.world.lock:
            refusal = self._too_much(resource, content)
            if refusal is not None:
                status, message, headers = refusal
                self._say_json(status, {"message": message}, [*self._limits(resource), *headers])
                return
            status, body = self._carry_out(path, query, content, who)
        fault = github.fault(what, after=True)
        if fault is not None:
            self._go_wrong(fault, self._limits(resource))
        elif status == 302:
            self._say(302, b"", [("location", str(body)), *self._limits(resource)])
        else:
            self._give(status, body, path, query, resource)

    def _too_much(self, resource: str, content: Any) -> tuple[int, str, Headers] | None:
        """What is said to those who ask for more than they may."""
        github, now = self.github, clock().timestamp()
        queries = resource == "graphql"
        cost = points(github.graph.requests(content["query"], content.get("variables") or {})) if queries else 1
        if not github.quota.charge(resource, cost, now=now):
            return 403, "API rate limit exceeded for user ID 1.", []
        makes_content = _MUTATION.search(content["query"]) if queries else self.command in {"POST", "PUT", "PATCH"}
        if makes_content and github.quota.too_much_content(now=now):
            return 403, "You have exceeded a secondary rate limit.", [("retry-after", "60")]
        return None

    def _carry_out(self, path: str, query: dict[str, str], body: Any, who: str) -> tuple[int, Any]:
        github = self.github
        if path == "/graphql":
            github.queries.append(body["query"])
            variables = body.get("variables") or {}
            return 200, github.meant(variables).graph.execute(body["query"], variables, who=who)
        operation, places = github.judge.match(self.command, path)
        if operation is None:
            return ABSENT
        if body is not None:
            github.judge.judge_request(operation, body)
        there = github.repository(f"{places['owner']}/{places['repo']}") if "repo" in places else github
        if there is None:
            return ABSENT
        call = Call(who=who, places=places, query=query, body=body or {})
        status, answer = there.rest.carry_out(operation.id, call)
        github.judge.judge_answer(operation, status, answer)
        return status, answer

    def _give(self, status: int, body: Any, path: str, query: dict[str, str], resource: str) -> None:
        headers = self._limits(resource)
        if isinstance(body, list):
            body, links = _page(body, query, f"{self.github.base}{path}")
            headers += links
        if self.command != "GET":
            self._say_json(status, body, headers)
            return
        tag = f'W/"{hashlib.sha256(json.dumps(body).encode()).hexdigest()[:40]}"'
        if self.headers.get("if-none-match") == tag:
            self.github.quota.give_back(resource)
            self._say(304, b"", [("etag", tag), *headers])
        else:
            self._say_json(status, body, [*headers, ("etag", tag)])

    def _limits(self, resource: str) -> Headers:
        github = self.github
        quota, now = github.quota, clock().timestamp()
        reset = quota.resets_at(resource, now=now)
        scopes = [("x-oauth-scopes", github.world.scopes)] if github.world.scopes is not None else []
        return [
            ("x-ratelimit-limit", str(LIMIT)),
            ("x-ratelimit-remaining", str(quota.left[resource])),
            ("x-ratelimit-used", str(LIMIT - quota.left[resource])),
            ("x-ratelimit-reset", str(reset)),
            ("x-ratelimit-resource", resource),
            ("x-github-request-id", uuid.uuid4().hex),
            *scopes,
        ]

    def _log(self, check: int) -> None:
        """Where logs really lie: another's place, which must not be shown our token."""
        if self.headers.get("authorization"):
            self.github.judge.offences.append("a token was sent to where the logs lie")
        worlds = (one.world for one in (self.github, *self.github.neighbours.values()))
        run = next(world.checks[check] for world in worlds if check in world.checks)
        self._say(200, run.log.encode(), [], "text/plain; charset=utf-8")

    # --- git ---

    def _git(self, path: str, query: str, raw: bytes) -> None:
        world, who = self.github.world, self._who()
        if who is None:
            self._say(401, b"", [("www-authenticate", 'Basic realm="GitHub"')], "text/plain")
            return
        if self.headers.get("content-encoding") == "gzip":
            raw = gzip.decompress(raw)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.github.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": who,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "CONTENT_LENGTH": str(len(raw)),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "GIT_CONFIG_NOSYSTEM": "1",
            "HOME": "/nonexistent",
        }
        what = f"{self.command} {path}"
        fault = self.github.planned(what, after=False)
        if fault is not None:
            self._go_wrong(fault, [])
            return
        pushes = self.command == "POST" and path.endswith("git-receive-pack")
        with world.lock if pushes else nullcontext():  # two pushes at once are told apart
            before = world.refs() if pushes else {}
            done = subprocess.run(["git", "http-backend"], input=raw, env=environment, capture_output=True, check=False)
            if pushes:
                world.moved(before)
        fault = self.github.planned(what, after=True)
        if fault is not None:
            self._go_wrong(fault, [])
        else:
            self._pass_on(done.stdout)

    def _pass_on(self, said: bytes) -> None:
        """What a CGI program said, as an answer."""
        head, _, body = said.partition(b"\r\n\r\n")
        status, kind, headers = 200, "text/plain", []
        for line in head.decode().splitlines():
            name, _, value = line.partition(": ")
            if name.lower() == "status":
                status = int(value.split()[0])
            elif name.lower() == "content-type":
                kind = value
            elif name:
                headers.append((name, value))
        self._say(status, body, headers, kind)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that were killed hang up; everything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


def _page(body: list[Any], query: Mapping[str, str], url: str) -> tuple[list[Any], Headers]:
    size, page = int(query.get("per_page", 30)), int(query.get("page", 1))
    if page * size >= len(body):
        return body[(page - 1) * size :], []
    following = urllib.parse.urlencode({**query, "page": page + 1})
    return body[(page - 1) * size : page * size], [("link", f'<{url}?{following}>; rel="next"')]


@contextmanager
def fake_github(folder: Path) -> Iterator[FakeGitHub]:
    """A GitHub whose repository is the bare one at FOLDER/acme/demo.git."""
    world = World(folder / f"{FULL}.git")
    world.people |= {ROBOT: "write"}
    world.tokens[ROBOT_TOKEN] = ROBOT
    world.git("config", "http.receivepack", "true")
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    base = f"http://127.0.0.1:{server.server_address[1]}"
    views = Views(world, base)
    made = FakeGitHub(world, base, contract(), Rest(world, views), Graph(world, views), folder)
    handler.github = made  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, name="fake-github", daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=10)
