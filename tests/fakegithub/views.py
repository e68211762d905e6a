"""What the REST API shows: the document's own examples, overlaid with what is true here."""

from __future__ import annotations

import json
import zlib
from typing import Any

from tests.fakegithub import contract
from tests.fakegithub.world import OWNER, CheckRun, Issue, Pull, Remark, Thread, World

_USER_LINKS = ("followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events")


class Views:
    """Bodies with the addresses of this server at `base`."""

    def __init__(self, world: World, base: str) -> None:
        self.world, self.base = world, base

    @property
    def api(self) -> str:
        return f"{self.base}/repos/{self.world.full}"

    def _here(self, body: Any) -> Any:
        """The examples carry GitHub's addresses: ours instead."""
        text = json.dumps(body)
        for theirs, ours in (
            ("https://api.github.com/repos/octocat/Hello-World", self.api),
            ("https://api.github.com", self.base),
            ("https://github.com/octocat/Hello-World", f"{self.base}/{self.world.full}"),
            ("https://github.com", self.base),
        ):
            text = text.replace(theirs, ours)
        return json.loads(text)

    def user(self, login: str) -> dict[str, Any]:
        example = contract.example("users/get-authenticated")
        kept = {key: example[key] for key in ("avatar_url", "gravatar_id", "site_admin", "node_id")}
        url = f"{self.base}/users/{login}"
        return {
            **kept,
            "type": "Bot" if login in self.world.bots else "User",
            "login": login,
            "id": zlib.crc32(login.encode()),
            "url": url,
            "html_url": f"{self.base}/{login}",
            **{f"{name}_url": f"{url}/{name}" for name in _USER_LINKS},
            "received_events_url": f"{url}/received_events",
        }

    def account(self, login: str) -> dict[str, Any]:
        return {**self._here(contract.example("users/get-authenticated")), **self.user(login)}

    def repository(self) -> dict[str, Any]:
        body = self._here(contract.example("repos/get"))
        for name in ("parent", "source", "template_repository"):
            body.pop(name, None)
        body.update(
            name=self.world.full.partition("/")[2],
            full_name=self.world.full,
            default_branch="main",
            clone_url=f"{self.base}/{self.world.full}.git",
            owner={**self.user(self.world.full.partition("/")[0]), "type": "Organization"},
            organization=None,
        )
        body.setdefault("language", None)
        wanted = {"mirror_url", "license", "language", "homepage", "description", "pushed_at"}
        return {key: value for key, value in body.items() if value is not None or key in wanted}

    def _short_repository(self) -> dict[str, Any]:
        left_out = {"organization", "security_and_analysis", "subscribers_count", "network_count"}
        return {key: value for key, value in self.repository().items() if key not in left_out}

    def pull(self, pull: Pull) -> dict[str, Any]:
        body = self._here(contract.example("pulls/get"))
        merged = pull.state == "merged"
        conflict = pull.state == "open" and self.world.conflicts(pull)
        known = pull.state == "open" and not self.world.thinks(pull)
        body.update(
            self._told_of(pull),
            merged=merged,
            merged_by=self.user(pull.merged_by) if merged else None,
            mergeable=not conflict if known else None,
            mergeable_state="unknown" if not known else "dirty" if conflict else "clean",
            rebaseable=None,
        )
        return body  # type: ignore[no-any-return]

    def listed_pull(self, pull: Pull) -> dict[str, Any]:
        """In a list, which tells nothing of whether it can be merged."""
        return {**self._here(contract.example("pulls/list"))[0], **self._told_of(pull)}

    def _told_of(self, pull: Pull) -> dict[str, Any]:
        """What is told wherever it is shown."""
        url = f"{self.api}/pulls/{pull.number}"
        return {
            "number": pull.number,
            "id": pull.id,
            "node_id": pull.node_id,
            "title": pull.title,
            "body": pull.body,
            "state": "open" if pull.state == "open" else "closed",
            "draft": False,
            "merged_at": pull.ended_at if pull.state == "merged" else None,
            "closed_at": pull.ended_at,
            "merge_commit_sha": pull.merged_sha or None,
            "user": self.user(pull.author),
            "url": url,
            "html_url": f"{self.base}/{self.world.full}/pull/{pull.number}",
            "issue_url": f"{self.api}/issues/{pull.number}",
            "comments_url": f"{self.api}/issues/{pull.number}/comments",
            "review_comments_url": f"{url}/comments",
            "statuses_url": f"{self.api}/statuses/{pull.head_sha}",
            "commits_url": f"{url}/commits",
            "labels": [],
            "assignee": None,
            "assignees": [],
            "requested_reviewers": [],
            "requested_teams": [],
            "milestone": None,
            "auto_merge": None,
            "active_lock_reason": None,
            "locked": False,
            "created_at": pull.created_at,
            "updated_at": pull.updated_at,
            "head": self._side(pull.head, pull.head_sha),
            "base": self._side(pull.base, self.world.sha(f"refs/heads/{pull.base}")),
        }

    def _side(self, ref: str, sha: str | None) -> dict[str, Any]:
        return {
            "label": f"{OWNER}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.user(OWNER),
            "repo": self._short_repository(),
        }

    def said_in_thread(self, thread: Thread, remark: Remark) -> dict[str, Any]:
        """What was said in a thread: all but the first reply to the first."""
        body = self._here(contract.example("pulls/get-review-comment"))
        page = f"{self.base}/{self.world.full}/pull/{thread.pull}"
        began = thread.remarks[0].id
        for name in ("in_reply_to_id", "pull_request_review_id"):
            body.pop(name, None)
        body.update(
            id=remark.id,
            node_id=f"PRRC_{remark.id}",
            pull_request_review_id=None,
            url=f"{self.api}/pulls/comments/{remark.id}",
            html_url=f"{page}#discussion_r{remark.id}",
            pull_request_url=f"{self.api}/pulls/{thread.pull}",
            path=thread.path,
            line=thread.line,
            body=remark.body,
            user=self.user(remark.author),
            author_association="COLLABORATOR",
            created_at=remark.at,
            updated_at=remark.at,
        )
        return body if remark.id == began else {**body, "in_reply_to_id": began}

    def issue(self, issue: Issue) -> dict[str, Any]:
        body = self._here(contract.example("issues/create", "201"))
        url = f"{self.api}/issues/{issue.number}"
        for name in ("pull_request", "pinned_comment", "repository"):
            body.pop(name, None)
        body.update(
            number=issue.number,
            id=issue.id,
            node_id=f"I_{issue.number}",
            title=issue.title,
            body=issue.body,
            state=issue.state,
            user=self.user(issue.author),
            labels=[{**contract.example("issues/get-label"), "name": label} for label in issue.labels],
            url=url,
            html_url=f"{self.base}/{self.world.full}/issues/{issue.number}",
            repository_url=self.api,
            comments_url=f"{url}/comments",
            events_url=f"{url}/events",
            labels_url=f"{url}/labels{{/name}}",
            assignee=None,
            assignees=[],
            milestone=None,
            closed_at=None,
            closed_by=None,
            comments=len(self.world.remarks.get(issue.number, [])),
            active_lock_reason=None,
            locked=False,
            created_at=issue.created_at,
            updated_at=issue.created_at,
        )
        return body  # type: ignore[no-any-return]

    def as_issue(self, pull: Pull) -> dict[str, Any]:
        """A pull request where issues are listed."""
        kept = Issue(number=pull.number, id=pull.id, title=pull.title, body=pull.body, author=pull.author, labels=[])
        url = f"{self.base}/{self.world.full}/pull/{pull.number}"
        links = {"html_url": url, "diff_url": f"{url}.diff", "patch_url": f"{url}.patch"}
        return {**self.issue(kept), "pull_request": {"url": f"{self.api}/pulls/{pull.number}", **links}}

    def remark(self, number: int, remark: Remark) -> dict[str, Any]:
        body = self._here(contract.example("issues/get-comment"))
        for name in ("pin", "minimized", "performed_via_github_app"):
            body.pop(name, None)
        url = f"{self.api}/issues/comments/{remark.id}"
        body.update(
            id=remark.id,
            node_id=f"IC_{remark.id}",
            url=url,
            html_url=f"{self.base}/{self.world.full}/issues/{number}#issuecomment-{remark.id}",
            issue_url=f"{self.api}/issues/{number}",
            body=remark.body,
            user=self.user(remark.author),
            author_association="COLLABORATOR",
            created_at=remark.at,
            updated_at=remark.at,
        )
        return body  # type: ignore[no-any-return]

    def check(self, run: CheckRun) -> dict[str, Any]:
        body = self._here(contract.example("checks/get"))
        url = f"{self.api}/check-runs/{run.id}"
        body.update(
            id=run.id,
            name=run.name,
            head_sha=run.sha,
            status=run.status,
            conclusion=run.conclusion,
            started_at=run.started_at,
            completed_at=run.completed_at,
            url=url,
            html_url=f"{self.base}/{self.world.full}/runs/{run.id}",
            details_url=f"{self.base}/{self.world.full}/actions/runs/{run.id}/job/{run.id}",
            pull_requests=[],
        )
        body["output"] = {
            **body["output"],
            "annotations_count": len(run.annotations),
            "annotations_url": f"{url}/annotations",
        }
        body["app"] |= {"slug": run.app}
        body["check_suite"] = {"id": run.run}
        return body  # type: ignore[no-any-return]

    def no_statuses(self, sha: str) -> dict[str, Any]:
        body = self._here(contract.example("repos/get-combined-status-for-ref"))
        body.update(state="pending", statuses=[], total_count=0, sha=sha, repository=self._short_repository())
        return body  # type: ignore[no-any-return]

    def annotation(self, path: str, line: int, message: str) -> dict[str, Any]:
        body = self._here(contract.example("checks/list-annotations")[0])
        body.update(path=path, start_line=line, end_line=line, annotation_level="failure", message=message)
        return body  # type: ignore[no-any-return]

    def job(self, run: CheckRun) -> dict[str, Any]:
        body = self._here(contract.example("actions/get-job-for-workflow-run"))
        body.update(
            id=run.id,
            run_id=run.run,
            run_attempt=run.attempt,
            name=run.name,
            head_sha=run.sha,
            status=run.status,
            conclusion=run.conclusion,
            created_at=run.started_at,
            started_at=run.started_at,
            completed_at=run.completed_at,
            url=f"{self.api}/actions/jobs/{run.id}",
            run_url=f"{self.api}/actions/runs/{run.run}",
            check_run_url=f"{self.api}/check-runs/{run.id}",
        )
        return body  # type: ignore[no-any-return]

    def workflow_run(self, jobs: list[CheckRun]) -> dict[str, Any]:
        body = self._here(contract.example("actions/get-workflow-run"))
        over = all(job.status == "completed" for job in jobs)
        red = any(job.conclusion not in {"success", "neutral", "skipped"} for job in jobs)
        body.update(
            id=jobs[0].run,
            head_sha=jobs[0].sha,
            run_attempt=max(job.attempt for job in jobs),
            status="completed" if over else "in_progress",
            conclusion=("failure" if red else "success") if over else None,
            url=f"{self.api}/actions/runs/{jobs[0].run}",
        )
        return body  # type: ignore[no-any-return]

    def suite(self, jobs: list[CheckRun], *, asked: bool) -> dict[str, Any]:
        body = self._here(contract.example("checks/get-suite"))
        over = not asked and all(job.status == "completed" for job in jobs)
        body.update(
            id=jobs[0].run,
            head_sha=jobs[0].sha,
            status="completed" if over else "queued",
            conclusion="failure" if over else None,
        )
        return body  # type: ignore[no-any-return]

    def branch(self, name: str, sha: str) -> dict[str, Any]:
        body = self._here(contract.example("repos/get-branch"))
        body["name"] = name
        body["commit"] |= {"sha": sha, "url": f"{self.api}/commits/{sha}"}
        required = self.world.required_checks
        body["protected"] = bool(required)
        body["protection"] = {
            "enabled": bool(required),
            "required_status_checks": {
                "enforcement_level": "everyone" if required else "off",
                "contexts": required,
                "checks": [{"context": name, "app_id": None} for name in required],
            },
        }
        return body  # type: ignore[no-any-return]

    def permission(self, login: str) -> dict[str, Any]:
        level = self.world.people.get(login, "none")
        user = self._here(contract.example("repos/get-collaborator-permission-level"))["user"]
        return {"permission": level, "role_name": level, "user": {**user, **self.user(login), "role_name": level}}
