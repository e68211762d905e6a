"""The demo's person: submits the tasks, then reviews, answers, merges and cancels, each when the task has come to it and never by the clock.

Acts through the services like everybody, as a user of its own. Whatever it meant to do and somebody else did first is left at that. Needs
Django; loaded by `ops.local.demo` in a process of its own.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from ops.local.demo_play.scenes import CONVERTER, POST_CREATE, SAMPLES, SCENES, TESTS, Part, Scene
from ops.local.home import write_private
from orchestrator.domain.rules import Override, Reply, Trigger
from orchestrator.domain.status import TaskStatus
from orchestrator.models import Membership, Project, PullRequest, Role, Task, Turn
from orchestrator.services import accounts, projects, reviews, rules, tasks
from orchestrator.services.events import Actor
from orchestrator.services.reviews import NewComment
from orchestrator.services.tasks import NotNow

LOOK_EVERY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the demo is played: the folder with its repositories and its agent, and how slowly."""

    folder: Path
    pace: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One task as `--json` tells it."""

    id: int
    title: str
    intended: str
    status: str


def play(stage: Stage, *, patience: float | None, result: Path) -> None:
    """Play until every task is where it should be, or for ever without `patience` (seconds); what came of it is left in `result`."""
    give_up = None if patience is None else time.monotonic() + patience
    cast = submitted(stage)
    while True:
        now = {row.pk: row for row in Task.objects.filter(pk__in=cast.values()).select_related("project")}
        shown = {scene: now[pk] for scene, pk in cast.items()}
        settled = all(at_rest(scene, task) for scene, task in shown.items())
        over = settled or (give_up is not None and time.monotonic() > give_up)
        if patience is not None and over:
            write_private(
                result, json.dumps({"settled": settled, "tasks": [asdict(standing(*each)) for each in shown.items()]})
            )
            return
        for scene, task in shown.items():
            act(stage, scene, task, shown)
        time.sleep(LOOK_EVERY)


def standing(scene: Scene, task: Task) -> Standing:
    """A task with what was intended for it; an escalation that is missing is said, for the status alone would not show it."""
    wanting = scene.escalated and not escalated(task)
    status = f"{task.status}, not escalated" if wanting else task.status
    return Standing(id=task.pk, title=task.title, intended=scene.intended, status=status)


def at_rest(scene: Scene, task: Task) -> bool:
    """Whether the task is where the demo leaves it."""
    return task.status == scene.intended and (escalated(task) or not scene.escalated)


def escalated(task: Task) -> bool:
    """Whether a human was called and has not answered."""
    return task.interruptions.open().filter(escalation=True).exists()


# --- The tasks ----------------------------------------------------------------------------------------------------------------------------


def submitted(stage: Stage) -> Mapping[Scene, int]:
    """Register the projects and submit the tasks; what is there already is found again."""
    owner = accounts.first_user(name="admin")
    asker = Actor(user=owner, name=owner.username)
    where = {key: registered(key, stage.folder / key, asker) for key in SAMPLES}
    cast: dict[Scene, int] = {}
    for scene in SCENES:
        needed = [pk for other, pk in cast.items() if scene.after and other.feature == scene.after]
        cast[scene] = submit(stage, scene, where[scene.project], asker, needed)
    return cast


def registered(key: str, path: Path, asker: Actor) -> Project:
    """The project of a sample repository, with the demo's person as a member."""
    project, _ = projects.register(
        key=key,
        name=key.title(),
        remote=str(path),
        checkout=str(path),
        default_branch="main",
        agent="command",
        scm={"plugin": "local", "checks": {"tests": TESTS}},
        post_create=POST_CREATE.get(key, ()),
        actor=asker,
    )
    Membership.objects.get_or_create(project=project, user=reviewer(), defaults={"role": Role.MEMBER})
    if key == CONVERTER:
        with transaction.atomic():
            by_itself = Override(trigger=Trigger.APPROVED_AND_GREEN, auto=True, action=(Reply.AUTO_MERGE,))
            rules.set_override(by_itself, project=project, actor=asker)
    return project


def reviewer() -> User:
    """The user as whom the person acts, with no password and so with no way in."""
    user, _ = User.objects.get_or_create(username="reviewer")
    return user


@transaction.atomic
def submit(stage: Stage, scene: Scene, project: Project, asker: Actor, needed: list[int]) -> int:
    """Submit a task with an agent of its own, both in one transaction so that nobody starts it without."""
    task, new = tasks.submit(
        project=project,
        title=scene.title,
        body=f"Played by the demo's agent: {scene.fate.replace('_', ' ')}. The person will {scene.part}.",
        labels=["demo"],
        depends_on=needed,
        idempotency_key=f"demo-{scene.fate}-{scene.feature}",
        actor=asker,
    )
    if new:
        command = ["python3", str(stage.folder / "agent.py"), scene.fate, scene.feature, str(stage.pace)]
        Task.objects.filter(pk=task.pk).update(agent_config={"command": command})
    return task.pk


# --- What the person does -----------------------------------------------------------------------------------------------------------------


def act(stage: Stage, scene: Scene, task: Task, shown: Mapping[Scene, Task]) -> None:
    """Do what is to be done about a task now, if anything is. A person takes a moment to read, too."""
    if timezone.now() - task.updated_at < timedelta(seconds=stage.pace):
        return
    try:
        MOVES[scene.part](task, shown)
    except NotNow:
        return  # somebody was faster, or the task moved on while we looked


def merge(task: Task, _: Mapping[Scene, Task] | None = None) -> None:
    """Approve what waits for a review, and press merge where that is all that is missing."""
    approve(task)
    pull = head_of(task)
    if task.status == TaskStatus.MERGEABLE and pull is not None and task.merge_requested != pull.head_sha:
        tasks.request_merge(task=task, actor=me())


def approve(task: Task, _: Mapping[Scene, Task] | None = None) -> None:
    """Approve the head that is shown, once."""
    pull = head_of(task)
    if task.status == TaskStatus.REVIEW_PENDING and pull is not None and not said(pull, "approve"):
        reviews.submit_review(task=task, decision="approve", body="Looks right.", head_sha=pull.head_sha, actor=me())


def criticise(task: Task, _: Mapping[Scene, Task]) -> None:
    """Ask for changes on two lines at first sight; merge the answer."""
    pull = head_of(task)
    if pull is None or said(pull, "request_changes"):
        return
    if pull.reviews.filter(decision="request_changes").exists():
        merge(task)
    elif task.status == TaskStatus.REVIEW_PENDING:
        comments = (
            NewComment(path="power.py", line=1, body="Please say in the docstring which numbers are taken."),
            NewComment(path="power.py", line=4, body="And what happens when b is negative?"),
        )
        reviews.submit_review(
            task=task,
            decision="request_changes",
            body="Nearly there.",
            comments=comments,
            head_sha=pull.head_sha,
            actor=me(),
        )


def go_first(task: Task, shown: Mapping[Scene, Task]) -> None:
    """Wait until the sibling stands beside it, so that merging one puts the other in conflict."""
    sibling = next(other for scene, other in shown.items() if scene.part is Part.GO_SECOND)
    if sibling.outcome or head_of(sibling) is not None:
        merge(task)


def go_second(task: Task, _: Mapping[Scene, Task]) -> None:
    """Wait until the agent was told of the conflict; what it rebased is reviewed like anything else."""
    if task.messages.filter(trigger=Trigger.MERGE_CONFLICTS).exists():
        merge(task)


def answer(task: Task, _: Mapping[Scene, Task]) -> None:
    """Answer the agent; then the task is like any other."""
    turn = Turn.objects.filter(session__task=task, request__isnull=False).order_by("-id").first()
    if task.status == TaskStatus.NEEDS_INPUT and turn is not None and turn.request is not None:
        tasks.answer(task=task, request_id=turn.request["id"], answer="raise an error", actor=me())
    merge(task)


def cancel(task: Task, _: Mapping[Scene, Task]) -> None:
    """Cancel once the agent is seen at work."""
    if Turn.objects.filter(session__task=task, ended_at__isnull=True).exclude(activity="").exists():
        tasks.cancel(task=task, actor=me())


def retry(task: Task, _: Mapping[Scene, Task]) -> None:
    """Say retry, once, when it failed; then the task is like any other."""
    if task.status == TaskStatus.FAILED and escalated(task):
        tasks.retry(task=task, actor=me())
    merge(task)


def leave(task: Task, _: Mapping[Scene, Task]) -> None:
    """Leave it: somebody else may want to try the board."""
    del task


MOVES: Mapping[Part, Callable[[Task, Mapping[Scene, Task]], None]] = {
    Part.MERGE: merge,
    Part.APPROVE: approve,
    Part.CRITICISE: criticise,
    Part.GO_FIRST: go_first,
    Part.GO_SECOND: go_second,
    Part.ANSWER: answer,
    Part.CANCEL: cancel,
    Part.RETRY: retry,
    Part.LEAVE: leave,
}


def me() -> Actor:
    """The person, now."""
    user = reviewer()
    return Actor(user=user, name=user.username)


def head_of(task: Task) -> PullRequest | None:
    """The task's open pull request."""
    return task.pull_requests.filter(state="open").first()


def said(pull: PullRequest, decision: str) -> bool:
    """Whether the person has said this of the current head."""
    return pull.reviews.filter(head_sha=pull.head_sha, decision=decision, user=reviewer()).exists()
