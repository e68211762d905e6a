"""What this GitHub holds: one repository with its people, issues, pull requests, reviews, checks and rules. Git is the truth of branches."""

from __future__ import annotations

import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

OWNER, NAME = "acme", "demo"
FULL = f"{OWNER}/{NAME}"
ROBOT, ROBOT_TOKEN = "acme-robot", "ghp_robotrobotrobotrobotrobotrobotrobot1"  # whom the orchestrator logs in as
NO_SHA = "0" * 40


def clock() -> datetime:
    """The clock on this service's wall."""
    return datetime.now(UTC)


def now() -> str:
    """As the service writes instants: to the second."""
    return clock().strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(slots=True, kw_only=True)
class Issue:
    number: int
    id: int
    title: str
    body: str
    author: str
    state: str = "open"
    labels: list[str] = field(default_factory=list)
    created_at: str = field(default_factory=now)


@dataclass(slots=True, kw_only=True)
class Pull:
    number: int
    id: int
    title: str
    body: str
    author: str
    head: str
    base: str
    head_sha: str
    state: str = "open"
    merged_sha: str = ""
    merged_by: str = ""
    ended_at: str | None = None
    queued: bool = False
    removals: list[tuple[str, str]] = field(default_factory=list)  # from the merge queue: id, reason
    created_at: str = field(default_factory=now)
    updated_at: str = field(default_factory=now)

    @property
    def node_id(self) -> str:
        return f"PR_{self.number}"


@dataclass(slots=True, kw_only=True)
class Review:
    id: int
    pull: int
    author: str
    state: str  # APPROVED | CHANGES_REQUESTED | COMMENTED | DISMISSED
    body: str
    sha: str
    at: str = field(default_factory=now)


@dataclass(slots=True, kw_only=True)
class Remark:
    id: int
    author: str
    body: str
    at: str = field(default_factory=now)


@dataclass(slots=True, kw_only=True)
class Thread:
    id: str
    pull: int
    path: str
    line: int
    remarks: list[Remark]
    resolved: bool = False


@dataclass(slots=True, kw_only=True)
class CheckRun:
    id: int
    name: str
    sha: str
    status: str = "queued"
    conclusion: str | None = None
    started_at: str = field(default_factory=now)
    completed_at: str | None = None
    log: str = ""
    app: str = "github-actions"
    run: int = 0  # the workflow run (and the suite) that it is a job of
    attempt: int = 1
    annotations: list[tuple[str, int, str]] = field(default_factory=list)  # path, line, message


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A branch that a push moved. Without a commit before it was made, without one after it was deleted."""

    branch: str
    before: str | None
    after: str | None


@dataclass(slots=True)
class World:
    """Everything, under one lock. The methods are what people and runners do; each tells `heard` what it did, as webhooks would."""

    git_dir: Path
    full: str = FULL  # OWNER/NAME
    former: str = ""  # the one before that, by which it is still found
    heard: list[tuple[str, str, int]] = field(default_factory=list)  # event, action, pull request or issue
    pushes: list[Push] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)  # login -> admin | write | read | none
    bots: set[str] = field(default_factory=set)
    tokens: dict[str, str] = field(default_factory=dict)  # token -> login
    scopes: str | None = "repo"
    issues: dict[int, Issue] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    reviews: list[Review] = field(default_factory=list)
    threads: dict[str, Thread] = field(default_factory=dict)
    remarks: dict[int, list[Remark]] = field(default_factory=dict)
    checks: dict[int, CheckRun] = field(default_factory=dict)
    required_checks: list[str] = field(default_factory=list)
    required_approvals: int = 0
    merge_queue: bool = False
    thinking: bool = False  # mergeability is not known yet
    thinks_of: set[int] = field(default_factory=set)  # nor that of these
    new_head: Callable[[str], None] = lambda _: (
        None
    )  # what starts when a pull request shows a commit for the first time
    again: Callable[[CheckRun], None] = lambda _: None  # what carries out a job that was asked for again
    reruns: list[int] = field(default_factory=list)  # workflow runs and check runs that were asked for again
    may_rerun: bool = True
    lock: threading.RLock = field(default_factory=threading.RLock)
    _ids: Iterator[int] = field(default_factory=lambda: itertools.count(1001))
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    # --- git ---

    def git(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["git", f"--git-dir={self.git_dir}", *words], check=check, capture_output=True, text=True, timeout=60
        )
        return done.stdout.strip()

    def sha(self, ref: str) -> str | None:
        return self.git("rev-parse", "--verify", "-q", f"{ref}^{{commit}}", check=False) or None

    def refs(self) -> dict[str, str]:
        lines = self.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/heads").splitlines()
        return dict(line.split(" ", 1) for line in lines)  # type: ignore[misc]  # two words each

    def moved(self, before: Mapping[str, str]) -> None:
        """Take in what a push changed: heads of pull requests move, checks start, deleted branches close."""
        with self.lock:
            after = self.refs()
            for ref in sorted({*before, *after}):
                if before.get(ref) != after.get(ref):
                    self.pushes.append(
                        Push(branch=ref.removeprefix("refs/heads/"), before=before.get(ref), after=after.get(ref))
                    )
                    self._moved(ref, after.get(ref))

    def _moved(self, ref: str, sha: str | None) -> None:
        self.heard.append(("push", ref, 0))
        for pull in self.pulls.values():
            if pull.state != "open" or f"refs/heads/{pull.head}" != ref:
                continue
            if sha is None:
                self.end(pull, "closed")
            else:
                pull.head_sha = sha
                self.touch(pull, "pull_request", "synchronize")
                self.new_head(sha)

    def thinks(self, pull: Pull) -> bool:
        """Whether it is not known yet if the pull request can be merged."""
        return self.thinking or pull.number in self.thinks_of

    def conflicts(self, pull: Pull) -> bool:
        base = self.sha(f"refs/heads/{pull.base}") or NO_SHA
        done = subprocess.run(
            ["git", f"--git-dir={self.git_dir}", "merge-tree", "--write-tree", base, pull.head_sha],
            check=False,
            capture_output=True,
            timeout=60,
        )
        return done.returncode != 0

    # --- what people do ---

    def id(self) -> int:
        return next(self._ids)

    def touch(self, pull: Pull, event: str, action: str) -> None:
        pull.updated_at = now()
        self.heard.append((event, action, pull.number))

    def open_issue(self, author: str, title: str, body: str = "", labels: Sequence[str] = ()) -> Issue:
        with self.lock:
            number = next(self._numbers)
            issue = Issue(number=number, id=self.id(), title=title, body=body, author=author, labels=list(labels))
            self.issues[number] = issue
            self.heard.append(("issues", "opened", number))
            return issue

    def open_pull(self, author: str, *, title: str, body: str, head: str, base: str) -> Pull:
        with self.lock:
            number = next(self._numbers)
            pull = Pull(
                number=number,
                id=self.id(),
                title=title,
                body=body,
                author=author,
                head=head,
                base=base,
                head_sha=self.sha(f"refs/heads/{head}") or NO_SHA,
            )
            self.pulls[number] = pull
            self.touch(pull, "pull_request", "opened")
            self.new_head(pull.head_sha)
            return pull

    def review(
        self, author: str, number: int, state: str, body: str = "", comments: Sequence[tuple[str, int, str]] = ()
    ) -> Review:
        """A review of the head as it is now, with comments as (path, line, body)."""
        with self.lock:
            pull = self.pulls[number]
            made = Review(id=self.id(), pull=number, author=author, state=state, body=body, sha=pull.head_sha)
            self.reviews.append(made)
            for path, line, words in comments:
                remark = Remark(id=self.id(), author=author, body=words)
                thread = Thread(id=f"PRRT_{remark.id}", pull=number, path=path, line=line, remarks=[remark])
                self.threads[thread.id] = thread
            self.touch(pull, "pull_request_review", "submitted")
            return made

    def reply(self, author: str, thread_id: str, body: str) -> Remark:
        with self.lock:
            thread = self.threads[thread_id]
            remark = Remark(id=self.id(), author=author, body=body)
            thread.remarks.append(remark)
            self.touch(self.pulls[thread.pull], "pull_request_review_comment", "created")
            return remark

    def edit(self, words: Review | Remark, body: str, number: int) -> None:
        """Somebody changes what they said on a pull request."""
        with self.lock:
            words.body = body
            self.touch(self.pulls[number], "pull_request_review_comment", "edited")

    def resolve(self, thread_id: str, *, resolved: bool = True) -> Thread:
        with self.lock:
            thread = self.threads[thread_id]
            thread.resolved = resolved
            self.heard.append(("pull_request_review_thread", "resolved" if resolved else "unresolved", thread.pull))
            return thread

    def remark(self, author: str, number: int, body: str) -> Remark:
        with self.lock:
            made = Remark(id=self.id(), author=author, body=body)
            self.remarks.setdefault(number, []).append(made)
            if number in self.pulls:
                self.touch(self.pulls[number], "issue_comment", "created")
            return made

    def end(self, pull: Pull, state: str, *, sha: str = "", by: str = "") -> None:
        """Close or merge."""
        pull.state, pull.merged_sha, pull.merged_by, pull.ended_at = state, sha, by, now()
        self.touch(pull, "pull_request", "closed")
        if sha:
            for issue in self.issues.values():
                if f"fixes #{issue.number}" in pull.body.lower():
                    issue.state = "closed"

    def merge(self, pull: Pull, *, method: str, title: str, message: str, by: str) -> str:
        """A real merge of the head into the base, in the bare repository."""
        base = self.sha(f"refs/heads/{pull.base}") or NO_SHA
        tree = self.git("merge-tree", "--write-tree", base, pull.head_sha).splitlines()[0]
        parents = ["-p", base] if method in {"squash", "rebase"} else ["-p", base, "-p", pull.head_sha]
        who = ("-c", f"user.name={by}", "-c", f"user.email={by}@users.noreply.example.invalid")
        sha = self.git(*who, "commit-tree", *parents, "-m", title, "-m", message, tree)
        self.git("update-ref", f"refs/heads/{pull.base}", sha, base)
        self.end(pull, "merged", sha=sha, by=by)
        return sha

    def dequeue(self, pull: Pull, reason: str) -> None:
        """The merge queue gives a pull request up, or somebody takes it out."""
        with self.lock:
            pull.queued = False
            pull.removals.append((f"RFMQE_{self.id()}", reason))
            self.touch(pull, "pull_request", "dequeued")

    # --- what runners do ---

    def check(
        self,
        sha: str,
        name: str,
        conclusion: str | None = None,
        *,
        log: str = "",
        app: str = "github-actions",
        run: int = 0,
    ) -> CheckRun:
        """A check run at a commit, running or completed; a job of the workflow run `run`, or of one of its own."""
        with self.lock:
            number = self.id()
            made = CheckRun(id=number, name=name, sha=sha, app=app, run=run or number)
            self.checks[made.id] = made
            self.heard.append(("check_run", "created", made.id))
            if conclusion is not None:
                self.complete(made, conclusion, log=log)
            return made

    def complete(self, run: CheckRun, conclusion: str, *, log: str = "") -> None:
        with self.lock:
            run.status, run.conclusion, run.log, run.completed_at = "completed", conclusion, log, now()
            self.heard.append(("check_run", "completed", run.id))

    def jobs(self, run: int) -> list[CheckRun]:
        """The newest attempt of each job of a workflow run."""
        newest = {one.name: one for one in self.checks.values() if one.run == run}
        return list(newest.values())

    def rerun(self, run: int) -> None:
        """Begin the failed jobs of a workflow run once more: each is a check run of its own."""
        with self.lock:
            self.reruns.append(run)
            attempt = max(job.attempt for job in self.jobs(run)) + 1
            for job in self.jobs(run):
                if job.conclusion not in {"success", "neutral", "skipped"}:
                    made = CheckRun(id=self.id(), name=job.name, sha=job.sha, app=job.app, run=run, attempt=attempt)
                    self.checks[made.id] = made
                    self.heard.append(("check_run", "created", made.id))
                    self.again(made)

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Nothing changes meanwhile."""
        with self.lock:
            yield
