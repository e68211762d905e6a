"""A turn that is spoken to: answers and words go into it, what it has not read is told later, and it is let go of when it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Message, Task, Turn
from orchestrator.services import tasks
from orchestrator.services.tasks import NotNow
from tests.fakes.talker import (
    AT_WORK,
    CONFIRM,
    DONE,
    HEAR,
    REPEAT,
    UNTIL_GO,
    UNTIL_THE_END,
    TalkingAgent,
    asks,
    script,
)
from tests.lab import FIX, Lab, lab
from workers.observers import HostChannel

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def talking() -> Iterator[Lab]:
    with lab() as here:
        here.tools = replace(here.tools, agents={"command": TalkingAgent()})
        here.channel = HostChannel(host_name="local", holder="lab", tools=here.tools, wait=0)
        yield here


def go(here: Lab, task: Task) -> None:
    here.port.inner.write("home/go", b"", workspace=here.session(task).workspace.name)


def by_turns(*scripts: str) -> str:
    """The n-th turn's script, each with the prompt repeated first."""
    cases = "".join(f"{n}) {steps} ;;\n" for n, steps in enumerate(scripts[:-1], start=1))
    return script(f"case $AO_TURN in\n{cases}*) {scripts[-1]} ;;\nesac")


def steps(*words: str) -> str:
    return "\n".join(words)


def ends(task: Task) -> list[str]:
    return [turn.end for turn in Turn.objects.filter(session__task=task).order_by("n")]


def test_a_program_that_is_done_is_let_go_of_and_its_turn_has_finished() -> None:
    with talking() as here:
        task = here.submit(script=script(FIX, DONE, UNTIL_THE_END))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["finished"]
        assert here.turn(task).last_words == "all done"


def test_a_program_that_ends_without_saying_so_was_cut_off_whatever_its_exit_code() -> None:
    with talking() as here:
        task = here.submit(script=by_turns("exit 0", steps(FIX, DONE)))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["failed", "finished"]
        assert "in the middle of its turn" in Turn.objects.get(n=1).detail


def test_a_turn_that_says_that_it_failed_has_failed_with_its_own_words() -> None:
    failed = """echo '{"type": "turn_done", "ok": false, "why": "no key"}'"""
    with talking() as here:
        task = here.submit(script=by_turns(failed, steps(FIX, DONE)))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["failed", "finished"]
        assert Turn.objects.get(n=1).detail == "exit code 0: no key"


def test_an_answer_goes_into_the_turn_that_waits_for_it_and_is_told_once() -> None:
    with talking() as here:
        task = here.submit(script=script(asks("colour"), HEAR, REPEAT, FIX, DONE, UNTIL_THE_END))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        tasks.answer(task=task, request_id="colour", answer="a warm green", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["finished"]
        assert here.heard(task).count("heard: answer a warm green") == 1
        assert here.doubles() == 0
        assert not Message.objects.filter(confirmed_at__isnull=True).exists()


def test_questions_that_are_asked_together_are_shown_and_answered_one_after_the_other() -> None:
    both = steps(asks("colour"), asks("size"), HEAR, REPEAT, HEAR, REPEAT, FIX, DONE, UNTIL_THE_END)
    with talking() as here:
        task = here.submit(script=script(both))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        assert task.evidence == ["Which colour?"]
        tasks.answer(task=task, request_id="colour", answer="green", actor=here.me)
        tasks.answer(task=task, request_id="colour", answer="no, blue", actor=here.me)
        here.until(lambda: Task.objects.get().evidence == ["Which size?"], "the second question is shown")
        tasks.answer(task=task, request_id="size", answer="small", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert "heard: answer green\nheard: answer small\n" in here.heard(task)
        assert [asked.resolution for asked in Interruption.objects.order_by("id")] == [
            "ada answered: green",
            "ada answered: small",
        ]


def test_a_question_that_nobody_asked_cannot_be_answered() -> None:
    with talking() as here:
        task = here.submit(script=script(asks("colour"), UNTIL_THE_END))
        here.reach(task, TaskStatus.NEEDS_INPUT)
        with pytest.raises(NotNow, match="does not ask 'size'"):
            tasks.answer(task=task, request_id="size", answer="small", actor=here.me)


def test_words_reach_an_agent_at_work_at_once_and_are_confirmed_by_its_echo() -> None:
    with talking() as here:
        task = here.submit(script=script(AT_WORK, HEAR, REPEAT, CONFIRM, FIX, DONE, UNTIL_THE_END))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        message = tasks.send(task=task, text="mind the gap", actor=here.me)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["finished"]
        assert here.heard(task).count("mind the gap") == 1
        assert Message.objects.get(pk=message.pk).confirmed_at is not None
        assert here.doubles() == 0


def test_words_whose_delivery_lost_its_reply_are_told_once() -> None:
    with talking() as here:
        here.port.lost = {"send"}
        task = here.submit(script=script(AT_WORK, HEAR, REPEAT, UNTIL_GO, CONFIRM, FIX, DONE, UNTIL_THE_END))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        message = tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: here.port.asked["send"] == 1, "the words are on their way")
        here.hurry()
        here.until(
            lambda: Message.objects.get(pk=message.pk).delivered_at is not None, "the words are known to be told"
        )
        go(here, task)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert here.port.asked["send"] == 2
        assert here.heard(task).count("heard: say mind the gap") == 1
        assert here.doubles() == 0


def test_words_whose_delivery_was_never_known_are_not_told_again_when_the_agent_has_read_them() -> None:
    read_and_done = steps(AT_WORK, HEAR, REPEAT, CONFIRM, FIX, DONE, UNTIL_THE_END)
    with talking() as here:
        here.port.lost = {"send"}
        task = here.submit(script=by_turns(read_and_done, steps(DONE, UNTIL_THE_END)))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        message = tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: here.turn(task).ended_at is not None, "the turn has ended")
        here.hurry()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        here.settle()
        assert ends(task) == ["finished"]
        assert Message.objects.get(pk=message.pk).turn == here.turn(task)
        assert here.doubles() == 0


def test_words_that_could_not_be_delivered_in_time_are_told_with_the_next_turn() -> None:
    with talking() as here:
        here.port.down = {"send"}
        script_of_two = by_turns(steps(AT_WORK, UNTIL_GO, FIX, DONE, UNTIL_THE_END), steps(DONE, UNTIL_THE_END))
        task = here.submit(script=script_of_two)
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: here.port.asked["send"] > 0, "it was tried")
        go(here, task)
        here.until(lambda: ends(task) == ["finished", "finished"], "it had a second turn")
        here.port.down = set()
        here.hurry()
        here.settle()
        assert here.heard(task).count("mind the gap") == 1
        assert here.doubles() == 0


def test_words_that_the_agent_did_not_read_wait_for_its_next_turn() -> None:
    unread = steps(AT_WORK, HEAR, FIX, DONE)
    with talking() as here:
        task = here.submit(script=by_turns(unread, steps(DONE, UNTIL_THE_END)))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: ends(task) == ["finished", "finished"], "it had a second turn")
        assert "mind the gap" not in here.heard(task, 1)
        assert here.heard(task, 2).count("mind the gap") == 1
        assert here.doubles() == 0


def test_an_agent_that_is_done_but_has_unread_words_is_not_let_go_of() -> None:
    goes_on = steps(AT_WORK, HEAR, DONE, UNTIL_GO, CONFIRM, FIX, DONE, UNTIL_THE_END)
    with talking() as here:
        task = here.submit(script=script(goes_on))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: here.turn(task).done_at is not None, "it says that it is done")
        here.settle()
        assert here.port.asked["close_input"] == 0
        go(here, task)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert ends(task) == ["finished"]
        assert here.port.asked["close_input"] == 1


def test_words_that_come_when_it_is_done_begin_the_next_turn() -> None:
    with talking() as here:
        here.port.down = {"close_input"}
        task = here.submit(script=by_turns(steps(FIX, DONE, UNTIL_THE_END), steps(DONE, UNTIL_THE_END)))
        here.until(lambda: here.turn(task).done_at is not None, "it says that it is done")
        tasks.send(task=task, text="one more thing", actor=here.me)
        here.settle()
        assert here.port.asked["send"] == 0
        here.port.down = set()
        here.hurry()
        here.until(lambda: ends(task) == ["finished", "finished"], "it had a second turn")
        assert here.heard(task, 2).count("one more thing") == 1


def test_words_that_were_on_their_way_when_it_was_done_begin_the_next_turn() -> None:
    with talking() as here:
        here.port.down = {"send", "close_input"}
        first = steps(AT_WORK, UNTIL_GO, FIX, DONE, UNTIL_THE_END)
        task = here.submit(script=by_turns(first, steps(DONE, UNTIL_THE_END)))
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        tasks.send(task=task, text="mind the gap", actor=here.me)
        here.until(lambda: here.port.asked["send"] > 0, "it was tried")
        go(here, task)
        here.until(lambda: here.turn(task).done_at is not None, "it says that it is done")
        tried = here.port.asked["send"]
        here.port.down = {"close_input"}
        here.hurry()
        here.settle()
        assert here.port.asked["send"] == tried
        here.port.down = set()
        here.hurry()
        here.until(lambda: ends(task) == ["finished", "finished"], "it had a second turn")
        assert here.heard(task).count("mind the gap") == 1


def test_an_agent_that_takes_words_between_turns_only_is_told_with_the_next_one() -> None:
    with lab() as here:
        task = here.submit(script=f"cat; echo; {AT_WORK}; {UNTIL_GO}; {FIX}")
        here.until(lambda: here.turn(task).activity == "edit a file", "it is at work")
        message = tasks.send(task=task, text="mind the gap", actor=here.me)
        here.settle()
        assert here.port.asked["send"] == 0
        assert Message.objects.get(pk=message.pk).turn is None
        go(here, task)
        here.until(lambda: "mind the gap" in here.heard(task), "it is told")
        assert here.turn(task).n == 2
        assert here.doubles() == 0
