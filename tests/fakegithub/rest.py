"""The REST operations that this GitHub knows: an operation's id is the name of what carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakegithub.views import Views
from tests.fakegithub.world import CheckRun, World

Reply = tuple[int, Any]
DOCUMENTATION = "https://docs.github.com/rest"
ABSENT: Reply = 404, {"message": "Not Found", "documentation_url": DOCUMENTATION, "status": "404"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, understood."""

    who: str
    places: Mapping[str, str]
    query: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def number(self) -> int:
        return int(self.places.get("pull_number") or self.places.get("issue_number") or 0)


class Rest:
    """Carries operations out on a world."""

    def __init__(self, world: World, views: Views) -> None:
        self.world, self.views = world, views
        self.operations: dict[str, Callable[[Call], Reply]] = {
            "users/get-authenticated": lambda call: (200, views.account(call.who)),
            "repos/get": lambda _: (200, views.repository()),
            "repos/get-branch": self._branch,
            "repos/get-branch-rules": lambda _: (200, []),
            "repos/get-collaborator-permission-level": lambda call: (200, views.permission(call.places["username"])),
            "issues/get": self._issue,
            "issues/list-for-repo": self._issues,
            "issues/list-comments": self._remarks,
            "issues/create-comment": self._remark,
            "pulls/get": lambda call: self._pull(call, lambda pull: (200, views.pull(pull))),
            "pulls/list": self._pulls,
            "pulls/list-review-comments": self._said_in_threads,
            "pulls/create-reply-for-review-comment": self._reply,
            "pulls/create": self._create_pull,
            "pulls/update": self._update_pull,
            "pulls/merge": self._merge,
            "checks/list-annotations": self._annotations,
            "checks/list-for-ref": self._checks,
            "repos/get-combined-status-for-ref": self._statuses,
            "checks/get": lambda call: self._of_check(call.places["check_run_id"], views.check),
            "checks/get-suite": self._suite,
            "checks/rerequest-run": self._rerequest,
            "actions/get-job-for-workflow-run": lambda call: self._of_check(call.places["job_id"], views.job),
            "actions/get-workflow-run": self._workflow_run,
            "actions/re-run-workflow-failed-jobs": self._rerun,
            "actions/download-job-logs-for-workflow-run": self._log,
        }

    def carry_out(self, operation: str, call: Call) -> Reply:
        found = self.operations.get(operation)
        return found(call) if found is not None else ABSENT

    def _branch(self, call: Call) -> Reply:
        sha = self.world.sha(f"refs/heads/{call.places['branch']}")
        return (200, self.views.branch(call.places["branch"], sha)) if sha else ABSENT

    def _issue(self, call: Call) -> Reply:
        issue = self.world.issues.get(call.number)
        return (200, self.views.issue(issue)) if issue else ABSENT

    def _issues(self, call: Call) -> Reply:
        """Issues and, as GitHub does it, pull requests among them."""
        state = call.query.get("state", "open")
        labels = {label.lower() for label in call.query.get("labels", "").split(",") if label}
        found = [
            (number, self.views.issue(issue))
            for number, issue in self.world.issues.items()
            if state in {issue.state, "all"} and labels <= {label.lower() for label in issue.labels}
        ]
        if not labels:
            found += [(n, self.views.as_issue(pull)) for n, pull in self.world.pulls.items() if pull.state == state]
        return 200, [body for _, body in sorted(found, key=lambda one: one[0])]

    def _remarks(self, call: Call) -> Reply:
        found = self.world.remarks.get(call.number, [])
        return 200, [self.views.remark(call.number, remark) for remark in found]

    def _remark(self, call: Call) -> Reply:
        if call.number not in self.world.pulls and call.number not in self.world.issues:
            return ABSENT
        return 201, self.views.remark(call.number, self.world.remark(call.who, call.number, call.body["body"]))

    def _pull(self, call: Call, then: Callable[[Any], Reply]) -> Reply:
        pull = self.world.pulls.get(call.number)
        return then(pull) if pull else ABSENT

    def _pulls(self, call: Call) -> Reply:
        """Newest first."""
        state, head, base = call.query.get("state", "open"), call.query.get("head"), call.query.get("base")
        owner = self.world.full.partition("/")[0]
        found = [
            self.views.listed_pull(pull)
            for pull in self.world.pulls.values()
            if state in {"all", "open" if pull.state == "open" else "closed"}
            and head in {None, f"{owner}:{pull.head}"}
            and base in {None, pull.base}
        ]
        return 200, found[::-1]

    def _said_in_threads(self, call: Call) -> Reply:
        said = [
            self.views.said_in_thread(thread, remark)
            for thread in self.world.threads.values()
            if thread.pull == call.number
            for remark in thread.remarks
        ]
        down = call.query.get("direction", "asc") == "desc"
        return 200, sorted(said, key=lambda one: (one["created_at"], one["id"]), reverse=down)

    def _reply(self, call: Call) -> Reply:
        """Only what began a thread can be replied to."""
        began = int(call.places["comment_id"])
        for thread in self.world.threads.values():
            if thread.pull == call.number and thread.remarks and thread.remarks[0].id == began:
                remark = self.world.reply(call.who, thread.id, call.body["body"])
                return 201, self.views.said_in_thread(thread, remark)
        return ABSENT

    def _create_pull(self, call: Call) -> Reply:
        head, base = call.body["head"].split(":")[-1], call.body["base"]
        sha, onto = self.world.sha(f"refs/heads/{head}"), self.world.sha(f"refs/heads/{base}")
        if sha is None or onto is None:
            return _invalid({"resource": "PullRequest", "field": "head" if onto else "base", "code": "invalid"})
        if self.world.git("rev-list", "--count", f"{onto}..{sha}") == "0":
            return _invalid(_custom(f"No commits between {base} and {head}"))
        if any(pull.head == head and pull.base == base and pull.state == "open" for pull in self.world.pulls.values()):
            return _invalid(_custom(f"A pull request already exists for acme:{head}."))
        made = self.world.open_pull(
            call.who, title=call.body["title"], body=call.body.get("body") or "", head=head, base=base
        )
        return 201, self.views.pull(made)

    def _update_pull(self, call: Call) -> Reply:
        def change(pull: Any) -> Reply:
            if call.body.get("state") == "closed" and pull.state == "open":
                self.world.end(pull, "closed")
            pull.title, pull.body = call.body.get("title", pull.title), call.body.get("body", pull.body)
            return 200, self.views.pull(pull)

        return self._pull(call, change)

    def _merge(self, call: Call) -> Reply:
        def merge(pull: Any) -> Reply:
            if pull.state != "open":
                return _said(405, "Pull Request is not mergeable")
            if call.body.get("sha") not in {None, pull.head_sha}:
                return _said(409, "Head branch was modified. Review and try the merge again.")
            if self.world.merge_queue:
                return _said(405, "Changes must be made through the merge queue")
            if self._unmet(pull):
                return _said(405, f"Repository rule violations found: {self._unmet(pull)}")
            if self.world.conflicts(pull):
                return _said(405, "Pull Request has merge conflicts")
            title = call.body.get("commit_title") or f"Merge pull request #{pull.number} from acme/{pull.head}"
            message = call.body.get("commit_message") or pull.title
            method = call.body.get("merge_method", "merge")
            sha = self.world.merge(pull, method=method, title=title, message=message, by=call.who)
            return 200, {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}

        return self._pull(call, merge)

    def _unmet(self, pull: Any) -> str:
        """What the repository's rules still demand."""
        green = {
            run.name
            for run in self.world.checks.values()
            if run.sha == pull.head_sha and run.conclusion in {"success", "neutral", "skipped"}
        }
        missing = [name for name in self.world.required_checks if name not in green]
        last = {
            review.author: review
            for review in self.world.reviews
            if review.pull == pull.number and review.state != "COMMENTED"
        }
        approvals = sum(review.state == "APPROVED" and review.author != pull.author for review in last.values())
        if missing:
            return f"Required status check {missing[0]!r} is expected."
        return "At least 1 approving review is required." if approvals < self.world.required_approvals else ""

    def _checks(self, call: Call) -> Reply:
        found = [self.views.check(run) for run in self.world.checks.values() if run.sha == self._commit(call)]
        return 200, {"total_count": len(found), "check_runs": found[: int(call.query.get("per_page", "30"))]}

    def _statuses(self, call: Call) -> Reply:
        """Nothing here reports in the older way."""
        return 200, self.views.no_statuses(self._commit(call))

    def _commit(self, call: Call) -> str:
        return self.world.sha(f"refs/heads/{call.places['ref']}") or call.places["ref"]

    def _of_check(self, number: str, view: Callable[[CheckRun], Any]) -> Reply:
        run = self.world.checks.get(int(number))
        return (200, view(run)) if run else ABSENT

    def _annotations(self, call: Call) -> Reply:
        run = self.world.checks.get(int(call.places["check_run_id"]))
        return (200, [self.views.annotation(*one) for one in run.annotations]) if run else ABSENT

    def _workflow_run(self, call: Call) -> Reply:
        jobs = self.world.jobs(int(call.places["run_id"]))
        return (200, self.views.workflow_run(jobs)) if jobs else ABSENT

    def _suite(self, call: Call) -> Reply:
        number = int(call.places["check_suite_id"])
        jobs = self.world.jobs(number)
        asked = any(job.id in self.world.reruns for job in jobs)
        return (200, self.views.suite(jobs, asked=asked)) if jobs else ABSENT

    def _rerun(self, call: Call) -> Reply:
        run = int(call.places["run_id"])
        jobs = self.world.jobs(run)
        if not jobs:
            return ABSENT
        if not self.world.may_rerun:
            return _said(403, "Resource not accessible by personal access token")
        if any(job.status != "completed" for job in jobs):
            return _said(403, "This workflow is already running")
        self.world.rerun(run)
        return 201, {}

    def _rerequest(self, call: Call) -> Reply:
        run = self.world.checks.get(int(call.places["check_run_id"]))
        if run is None:
            return ABSENT
        if not self.world.may_rerun:
            return _said(403, "Resource not accessible by personal access token")
        self.world.reruns.append(run.id)
        return 201, {}

    def _log(self, call: Call) -> Reply:
        run = self.world.checks.get(int(call.places["job_id"]))
        return (302, f"{self.views.base}/_logs/{run.id}") if run and run.log else ABSENT


def _said(status: int, message: str) -> Reply:
    return status, {"message": message, "documentation_url": DOCUMENTATION}


def _custom(message: str) -> dict[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}


def _invalid(error: Mapping[str, str]) -> Reply:
    return 422, {"message": "Validation Failed", "errors": [dict(error)], "documentation_url": DOCUMENTATION}
