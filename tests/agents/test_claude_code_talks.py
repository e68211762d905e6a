"""People and Claude Code in one conversation: permissions, questions, and words in the middle of its work."""

from __future__ import annotations

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Message, Task, Turn
from orchestrator.services import tasks
from tests.agents.conftest import Installation
from tests.lab import Lab
from tests.scripted_model import Rule, Say, ask, sh

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

FIX = sh("echo fixed >> README && git commit -qam 'Fix it'")
DONE = Say(text="That is all.")
WAIT = sh("until [ -e $HOME/go ]; do sleep 0.05; done")
ASKS_FOR_EVERYTHING = {"permissions": "default", "allowedTools": ["Read"]}


def asked(here: Lab, task: Task) -> str:
    """The question that is open when the task needs input, and its id."""
    here.reach(task, TaskStatus.NEEDS_INPUT)
    request = here.turn(task).request
    assert request is not None
    return str(request["id"])


def test_a_permission_that_is_given_goes_back_into_the_same_conversation(installed: Installation) -> None:
    with installed(Rule(match="Fix", steps=[FIX, DONE]), **ASKS_FOR_EVERYTHING) as (here, _):
        task = here.submit()
        request_id = asked(here, task)
        assert "git commit -qam 'Fix it'" in task.evidence[0]
        assert here.turn(task).request["options"][-1] == "deny"  # type: ignore[index]  # it asks
        assert Interruption.objects.open().count() == 1
        tasks.answer(task=task, request_id=request_id, answer="allow", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "fixed" in here.repository.ask("show", f"{task.branch}:README")
        assert [turn.end for turn in Turn.objects.all()] == ["finished"]
        assert not Interruption.objects.open().exists()
        assert here.doubles() == 0


def test_a_permission_that_is_refused_is_refused_in_the_persons_words(installed: Installation) -> None:
    steps = [FIX, DONE]
    with installed(Rule(match="Fix", steps=steps), **ASKS_FOR_EVERYTHING) as (here, model):
        task = here.submit()
        tasks.answer(task=task, request_id=asked(here, task), answer="no: mend the test instead", actor=here.me)
        here.until(lambda: here.turn(task).ended_at is not None, "the turn has ended")
        assert "mend the test instead" in model.heard[-1].body
        assert here.turn(task).end == "failed"
        assert "it was not allowed to use Bash" in here.turn(task).detail


def test_what_is_always_allowed_is_not_asked_again_and_leaves_no_file_behind(installed: Installation) -> None:
    again = sh("python3 -c \"open('README', 'a').write('once more')\"")
    rule = Rule(match="Fix", steps=[again, again, DONE])
    with installed(rule, **ASKS_FOR_EVERYTHING) as (here, _):
        task = here.submit()
        tasks.answer(task=task, request_id=asked(here, task), answer="always allow", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.repository.ask("show", f"{task.branch}:README").count("once more") == 2
        assert here.repository.ask("ls-tree", "--name-only", task.branch).split() == ["README", "test.sh"]


def test_a_question_is_answered_in_the_turn_that_asks_it(installed: Installation) -> None:
    steps = [ask("Which colour?", "red", "blue"), FIX, DONE]
    with installed(Rule(match="Fix", steps=steps)) as (here, model):
        task = here.submit()
        request_id = asked(here, task)
        assert task.evidence == ["Which colour?"]
        assert here.turn(task).request["options"] == ["red", "blue"]  # type: ignore[index]  # it asks
        tasks.answer(task=task, request_id=request_id, answer="blue", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert r"\"Which colour?\"=\"blue\"" in model.heard[-1].body
        assert Turn.objects.count() == 1


def test_words_to_an_agent_at_work_reach_it_in_its_turn_and_once(installed: Installation) -> None:
    with installed(Rule(match="Fix", steps=[WAIT, FIX, DONE])) as (here, model):
        task = here.submit()
        here.until(lambda: here.turn(task).activity.startswith("Bash until"), "it waits in its tool")
        message = tasks.send(task=task, text="Mind the gap.", actor=here.me)
        here.until(lambda: Message.objects.get(pk=message.pk).delivered_at is not None, "the words are delivered")
        here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert Message.objects.get(pk=message.pk).confirmed_at is not None
        assert "Mind the gap." in model.heard[-1].body
        assert model.heard[-1].body.count("Mind the gap.") == 1
        assert Turn.objects.count() == 1
        assert here.doubles() == 0


def test_a_cancelled_task_ends_the_agent_that_waits_for_an_answer(installed: Installation) -> None:
    with installed(Rule(match="Fix", steps=[FIX, DONE]), **ASKS_FOR_EVERYTHING) as (here, _):
        task = here.submit()
        asked(here, task)
        tasks.cancel(task=task, actor=here.me)
        here.reach(task, TaskStatus.CANCELLED)
        here.until(lambda: here.turn(task).ended_at is not None, "its turn has ended")
        assert here.port.inner.look(cursors={}, wait=0, timeout=10).runs == ()
