"""What agents do: they die, they ask, they say nothing, they say too much, they are not there."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Job, Task, Turn
from orchestrator.services import tasks, transcripts
from orchestrator.services.tasks import InvalidTask
from tests.lab import FIX, NOTHING, lab, turns

pytestmark = pytest.mark.django_db(transaction=True)

DIE = "kill -9 $$"
ASK = """echo '{"type": "needs_input", "id": "q1", "question": "Which colour?"}'"""


def test_an_agent_that_is_killed_is_resumed_and_goes_on() -> None:
    with lab() as here:
        task = here.submit(script=turns(DIE, FIX))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.order_by("n")] == ["killed", "finished"]
        assert "Go on with the task" in here.heard(task, 2)
        assert not Interruption.objects.exists()


def test_an_agent_that_keeps_dying_is_resumed_three_times_then_a_human_is_called_once() -> None:
    with lab() as here:
        task = here.submit(script=turns(DIE))
        here.reach(task, TaskStatus.FAILED)
        here.settle()
        assert Turn.objects.count() == 4
        assert Interruption.objects.filter(trigger="agent-exited").count() == 1
        assert task.attention == "respond"
        tasks.retry(task=task, actor=here.me)
        here.until(lambda: Turn.objects.count() > 4, "a person's retry resumes it again")


def test_d18_an_agent_whose_conversation_cannot_go_on_is_told_its_task_and_its_history_again() -> None:
    with lab() as here:
        task = here.submit(script=turns("touch x", FIX), body="All of it.")
        here.reach(task, TaskStatus.REVIEW_PENDING)
        tasks.send(task=task, text="and the other one", actor=here.me)
        here.until(lambda: here.turn(task).n == 2 and here.turn(task).published_at is not None, "it has heard more")
        tasks.restart(task=task, actor=here.me)
        here.until(
            lambda: here.session(task).epoch == 2 and here.turn(task).started_at is not None, "a successor works"
        )
        here.until(lambda: here.turn(task).published_at is not None, "its first turn is over")
        told = here.turn(task).prompt
        assert "Task: Fix the failing test\n\nAll of it." in told
        assert "This task was begun before" in told
        assert "ada to the agent: and the other one" in told
        assert here.doubles() == 0


def test_a_question_is_shown_and_its_answer_is_told_with_the_next_turn() -> None:
    with lab() as here:
        task = here.submit(script=turns(ASK, FIX))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        here.settle()
        assert task.evidence == ["Which colour?"]
        assert Interruption.objects.open().count() == 1
        tasks.answer(task=task, request_id="q1", answer="a warm green", actor=here.me)
        tasks.answer(task=task, request_id="q1", answer="a second answer", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "a warm green" in here.heard(task, 2)
        assert "a second answer" not in here.heard(task)
        assert not Interruption.objects.open().exists()
        assert here.doubles() == 0


def test_an_agent_without_progress_is_stuck_after_its_threshold_and_a_human_is_called_once() -> None:
    with lab() as here:
        task = here.submit(script="cat; sleep 60")
        here.until(lambda: here.turn(task).journal_size > 0, "the agent has said something")
        here.later(timedelta(minutes=9))
        here.settle(2)
        assert Task.objects.get().status == TaskStatus.WORKING
        here.later(timedelta(minutes=2))
        here.reach(task, TaskStatus.STUCK)
        here.settle()
        assert Interruption.objects.filter(trigger="agent-stuck").count() == 1


def test_an_agent_that_shows_progress_again_is_not_stuck_any_more() -> None:
    with lab() as here:
        task = here.submit(script="cat; until [ -e $HOME/go ]; do sleep 0.05; done; echo going on; sleep 60")
        here.until(lambda: here.turn(task).journal_size > 0, "the agent has said something")
        Turn.objects.update(progress_at=here.me.at - timedelta(minutes=11))
        here.reach(task, TaskStatus.STUCK)
        here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)
        here.reach(task, TaskStatus.WORKING)
        assert not Interruption.objects.open().exists()


def test_a_program_that_is_missing_is_named_with_the_way_out_and_found_after_a_retry() -> None:
    with lab() as here:
        task = here.submit()
        Task.objects.update(agent_config={"command": ["no-such-agent", "--fast"]})
        here.reach(task, TaskStatus.FAILED)
        here.settle()
        assert "no-such-agent" in task.reason
        assert "agentConfig.command" in task.reason
        assert len(here.escalations(task)) == 1
        Task.objects.update(agent_config={"command": ["/bin/sh", "-c", turns(FIX)]})
        tasks.retry(task=task, actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)


def test_the_environment_of_a_project_may_name_secrets_which_are_read_when_the_agent_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MODEL_KEY", "sk-1234")
    with lab(env={"API_KEY": "${MODEL_KEY}"}) as here:
        task = here.submit(script=turns('test "$API_KEY" = sk-1234 && echo fixed >> README'))
        here.reach(task, TaskStatus.REVIEW_PENDING)


def test_a_secret_that_is_not_there_is_named_before_anything_is_started() -> None:
    with lab(env={"API_KEY": "${NO_SUCH_KEY}"}) as here:
        task = here.submit(script=turns(FIX))
        here.reach(task, TaskStatus.FAILED)
        assert "env of app needs ${NO_SUCH_KEY}" in task.reason


def test_what_a_project_sets_for_its_own_agent_is_not_told_to_another_one() -> None:
    with lab(agent="claude-code", agent_config={"model": "opus", "command": "no-such-agent"}) as here:
        task = here.submit(agent="command")
        here.reach(task, TaskStatus.FAILED)
        assert "the agent `command` needs agentConfig.command" in task.reason


def test_settings_that_claude_code_does_not_know_fail_with_what_it_takes() -> None:
    with lab(agent="claude-code", agent_config={"modle": "opus"}) as here:
        task = here.submit()
        here.reach(task, TaskStatus.FAILED)
        assert "agentConfig.modle is 'opus': this key is not known to claude-code" in task.reason


def test_an_agent_that_nobody_knows_is_refused_when_the_task_is_made() -> None:
    with lab() as here, pytest.raises(InvalidTask, match="not a known agent"):
        here.submit(agent="hal")


def test_an_agent_that_is_known_but_not_installed_fails_with_its_name() -> None:
    with lab() as here:
        task = here.submit(agent="opencode")
        here.reach(task, TaskStatus.FAILED)
        assert "'opencode'" in task.reason


def test_a_command_that_cannot_be_split_fails_with_the_accepted_form() -> None:
    with lab() as here:
        task = here.submit()
        Task.objects.update(agent_config={"command": "my-agent 'unfinished"})
        here.reach(task, TaskStatus.FAILED)
        assert "agentConfig.command" in task.reason


def test_a_flood_of_output_is_capped_and_the_transcript_says_how_much_was_dropped() -> None:
    with lab() as here:
        task = here.submit(script=turns(f"head -c 20000000 /dev/zero | tr '\\0' x; {NOTHING}"))
        here.reach(task, TaskStatus.DONE)
        turn = Turn.objects.get()
        assert turn.dropped > 3_000_000
        assert turn.journal_size <= 16 * 1024 * 1024 + 1000
        tail, _ = transcripts.read(run=turn.run_id, after=turn.journal_size - 200)
        assert b"dropped" in tail


def test_an_agent_that_fails_without_a_commit_waits_for_a_person() -> None:
    with lab() as here:
        task = here.submit(script="cat; exit 3")
        here.reach(task, TaskStatus.FAILED)
        assert Job.objects.filter(verb="OpenPullRequest").count() == 0
        assert Interruption.objects.open().exists()


def test_what_was_committed_is_judged_by_git_and_not_by_the_exit_code() -> None:
    with lab() as here:
        task = here.submit(script=turns(f"{FIX}; exit 1"))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "fixed" in here.repository.ask("show", f"{task.branch}:README")


def test_a_program_that_is_missing_inside_the_sandbox_is_named_as_well() -> None:
    with lab(sandbox="bubblewrap") as here:
        task = here.submit()
        Task.objects.update(agent_config={"command": ["no-such-agent", "--fast"]})
        here.reach(task, TaskStatus.FAILED)
        assert "no-such-agent" in task.reason
