"""What a project does to its workspaces, and pushes that wait for a person."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Job, PullRequest, Session, Task
from orchestrator.services import observations, tasks, transcripts
from tests.lab import FIX, lab, turns
from workers import mirrors

pytestmark = pytest.mark.django_db(transaction=True)


def _setup_log(task: Task) -> bytes:
    session = Session.objects.get(task=task)
    return transcripts.read(run=observations.setup_run(session))[0]


@pytest.mark.parametrize("warm", [0, 1])
def test_post_create_runs_once_before_the_agent_and_its_log_is_kept(warm: int) -> None:
    with lab(post_create=["echo made > .made", "cat .made"], warm_workspaces=warm) as here:
        here.channel.once()
        mirrors.look_after_projects(here.tools)
        task = here.submit(script=turns(f"cat .made > SEEN; git add SEEN; {FIX}"))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:SEEN") == "made"
        assert b"$ cat .made" in _setup_log(task)


def test_a_post_create_that_fails_is_said_with_its_last_words_and_tried_again_on_a_retry() -> None:
    with lab(post_create=["echo no such tool; exit 7"]) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.FAILED)
        here.settle()
        assert "no such tool" in task.reason
        assert "exit code 7" in task.reason
        assert b"no such tool" in _setup_log(task)
        assert len(here.escalations(task)) == 1
        here.set(post_create=["true"])
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)


@pytest.mark.parametrize("level", ["none", "bubblewrap"])
def test_symlinks_show_the_agent_what_the_project_shares(level: str) -> None:
    with lab(sandbox=level) as here:
        shared = here.folder / "shared"
        shared.mkdir()
        (shared / "data").write_text("from outside\n")
        here.set(symlinks={"cache": str(shared)})
        task = here.submit(script=turns("cp cache/data COPY; git add COPY; git commit -qm Copy"))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:COPY") == "from outside"
        assert "cache" not in here.repository.ask("ls-tree", "--name-only", task.branch).split()


WORKFLOW = "mkdir -p .github/workflows; echo 'on: push' > .github/workflows/ci.yml; git add .github; git commit -qm CI"


def test_a_push_that_touches_sensitive_paths_waits_and_a_retry_allows_exactly_that_head() -> None:
    more = "echo 'jobs: {}' >> .github/workflows/ci.yml; git commit -qam More"
    with lab() as here:
        task = here.submit(script=turns(WORKFLOW, more))
        here.reach(task, TaskStatus.FAILED)
        here.settle()
        assert ".github/workflows/ci.yml" in task.reason
        assert task.branch not in here.repository.ask("branch", "--format=%(refname:short)").split()
        assert len(here.escalations(task)) == 1
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        allowed = PullRequest.objects.get().head_sha
        assert here.repository.ask("rev-parse", task.branch) == allowed
        # The next head touches them again: that one was not allowed.
        tasks.send(task=task, text="more of it", actor=here.me)
        here.reach(task, TaskStatus.FAILED)
        assert here.repository.ask("rev-parse", task.branch) == allowed
        assert Job.objects.filter(verb="Publish", code="sensitive").count() == 2
