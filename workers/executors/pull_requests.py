"""Open, merge and close pull requests: looked up first, done, looked up again."""

from __future__ import annotations

import re
from collections.abc import Mapping

from django.utils import timezone

from orchestrator.domain.actions import AnswerThread, ClosePullRequest, DeleteBranch, Merge, OpenPullRequest, key_of
from orchestrator.domain.answers import answers_in
from orchestrator.domain.prompts import capped
from orchestrator.domain.rules import Trigger
from orchestrator.domain.triggers import Hold, held_triggers
from orchestrator.models import PullRequest, Task, Turn
from orchestrator.ports import SCM, Proposal, PullState, Refused
from orchestrator.services import projects, pull_requests, snapshots
from workers.failpoints import failpoint
from workers.toolbox import Toolbox

_ISSUE = re.compile(r"#\d{1,9}")
ANSWER_CAP = 4000  # bytes of an agent's words that a reviewer is shown in a thread


def _task(task_id: int) -> Task:
    return Task.objects.select_related("project").get(pk=task_id)


def open_pull_request(action: OpenPullRequest, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Adopt the branch's pull request if there is one, else open it."""
    task = _task(task_id)
    failpoint("before_pr_create")
    seen = tools.scm(task.project).open_pull_request(
        Proposal(
            branch=task.branch,
            base_branch=task.project.default_branch,
            head_sha=action.head_sha,
            title=task.title,
            body=_body(task),
            marker=f"ao-task-{task.pk}",
        )
    )
    failpoint("after_pr_create")
    pull = pull_requests.record(task=task, seen=seen, now=timezone.now())
    return {"number": pull.number, "head_sha": pull.head_sha}


def _body(task: Task) -> str:
    """The task's words, and the issue that a merge settles, as forges write it."""
    fixes = f"Fixes {task.issue}" if _ISSUE.fullmatch(task.issue) else ""
    return "\n\n".join(part for part in (task.body.strip(), fixes, f"Task {task}") if part)


def merge(action: Merge, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Merge exactly this head, if it still is green and approved at this moment. Refused code `overtaken`: the facts changed."""
    task = _task(task_id)
    scm = tools.scm(task.project)
    _look(task, scm)
    snapshot = snapshots.take(task, now=timezone.now())
    pull = snapshot.pull
    ready = {held.trigger: held for held in held_triggers(snapshot)}.get(Trigger.APPROVED_AND_GREEN)
    if (
        pull is not None
        and pull.state == "open"
        and (ready is None or ready.hold is not Hold.HELD or pull.head_sha != action.head_sha)
    ):
        scm.withdraw(pull.number, head_sha=action.head_sha)
        raise Refused(f"{action.head_sha[:10]} is not approved and green any more", code="overtaken")
    if pull is None:
        raise Refused(f"{task} has no pull request", code="overtaken")
    failpoint("before_merge")
    message = f"Merge {task}: {task.title}\n\nHead: {action.head_sha}"
    sha = scm.merge(pull.number, head_sha=action.head_sha, method=task.project.merge_method, message=message)
    failpoint("after_merge")
    pull_requests.merged(task=task, number=pull.number, head_sha=action.head_sha, sha=sha, now=timezone.now())
    base = tools.mirror(task.project).fetch(task.project.default_branch, timeout=30)
    projects.mirrored(project=task.project, base_sha=base, now=timezone.now())
    return {"merged_sha": sha}


def _look(task: Task, scm: SCM) -> None:
    """An objection or a push may be newer than our rows."""
    numbers = list(task.pull_requests.filter(state=PullState.OPEN).values_list("number", flat=True))
    for seen in scm.observe(numbers, for_a_write=True) if numbers else ():
        pull_requests.record(task=task, seen=seen, now=timezone.now())


def close(action: ClosePullRequest, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Close the pull request of a cancelled task."""
    task = _task(task_id)
    scm = tools.scm(task.project)
    scm.close(action.number)
    for seen in scm.observe([action.number], for_a_write=True):
        pull_requests.record(task=task, seen=seen, now=timezone.now())
    return {"number": action.number}


def delete_branch(action: DeleteBranch, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Delete a merged branch; one that a person moved on is theirs and stays."""
    try:
        tools.scm(_task(task_id).project).delete_branch(action.branch, expected_sha=action.head_sha)
    except Refused as refused:
        if refused.code != "branch-moved":
            raise
        return {"kept": str(refused)}
    return {"deleted": action.branch}


def answer_thread(action: AnswerThread, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """What the agent says to this thread in its last message, else that message, once per comment; the thread is settled where a commit was
    made for it or the agent says so."""
    task = _task(task_id)
    pull = PullRequest.objects.get(task=task, state=PullState.OPEN)
    turn = Turn.objects.filter(session__task=task, n=action.turn).latest("session__epoch")
    made = bool(turn.head_after) and turn.head_after != turn.head_before
    done = (
        f"Done in {turn.head_after[:10]}."
        if made and action.settles
        else ""
        if made
        else "No commit was made for this."
    )
    answer = answers_in(turn.last_words).get(action.thread)
    said = answer.words if answer is not None else turn.last_words.strip()
    words = f"{done}\n\n{capped(said, ANSWER_CAP)}".strip() or "Nothing was said to this."
    marker = key_of(action).replace(":", "-")
    first = pull.comments.filter(thread=action.thread).earliest("created_at", "pk")
    tools.scm(task.project).answer(
        pull.number,
        thread=action.thread,
        comment=first.external_id,
        marker=f"ao-{marker}",
        body=words,
        settle=action.settles,
    )
    return {"thread": action.thread, "settled": action.settles}
