"""The REST operations that this GitHub knows: an operation's id is the name of what carries it out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.fakegithub.views import Views
from tests.fakegithub.world import World

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
            "pulls/create": self._create_pull,
            "pulls/update": self._update_pull,
            "pulls/merge": self._merge,
            "checks/list-annotations": lambda _: (200, []),
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

    def _log(self, call: Call) -> Reply:
        run = self.world.checks.get(int(call.places["job_id"]))
        return (302, f"{self.views.base}/_logs/{run.id}") if run and run.log else ABSENT


def _said(status: int, message: str) -> Reply:
    return status, {"message": message, "documentation_url": DOCUMENTATION}


def _custom(message: str) -> dict[str, str]:
    return {"resource": "PullRequest", "code": "custom", "message": message}


def _invalid(error: Mapping[str, str]) -> Reply:
    return 422, {"message": "Validation Failed", "errors": [dict(error)], "documentation_url": DOCUMENTATION}
