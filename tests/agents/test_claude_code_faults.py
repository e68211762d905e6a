"""What goes wrong with Claude Code: its model's API, its conversation, signals; and what it must not know."""

from __future__ import annotations

import shutil
import signal
from dataclasses import replace
from uuid import uuid4

import psutil
import pytest

from orchestrator.domain.status import TaskStatus
from orchestrator.models import Interruption, Session, Turn
from orchestrator.ports import Brief, Command, Run, RunEnd, Sandbox
from tests.agents.conftest import Installation
from tests.homes import hostkit_home
from tests.lab import Lab
from tests.scripted_model import Drop, Fault, Hang, Rule, Say, Step, scripted_model, sh
from workers.plugins.agents.claude_code import ClaudeCodeAgent
from workers.plugins.hosts.local import LocalHost

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

FIX = sh("echo fixed >> README && git commit -qam 'Fix it'")
DONE = Say(text="That is all.")
LONG = sh("sleep 600")
SANDBOXES = [
    Sandbox.NONE,
    pytest.param(Sandbox.BUBBLEWRAP, marks=pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap")),
]


def processes_of(here: Lab) -> list[psutil.Process]:
    """Everything that carries the marker of one of this installation's turns."""
    return [one for one in psutil.process_iter() if _of_a_turn(environment(one), str(here.home))]


def _of_a_turn(known: dict[str, str], home: str) -> bool:
    return known.get("AO_RUN", "").startswith("turn-") and known.get("HOME", "").startswith(home)


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def program_of(here: Lab, claude: str) -> psutil.Process:
    return next(one for one in processes_of(here) if one.exe() == claude)


def at_work(here: Lab, turn: Turn) -> bool:
    """Its tool's own program runs."""
    turn.refresh_from_db()
    return turn.activity.startswith("Bash sleep") and any(one.name() == "sleep" for one in processes_of(here))


def test_a_key_that_is_refused_fails_the_turn_and_after_three_more_a_human_is_called(installed: Installation) -> None:
    with installed(Rule(match="", steps=[Fault(status=401, kind="authentication_error")])) as (here, _):
        task = here.submit()
        here.reach(task, TaskStatus.FAILED)
        assert Turn.objects.count() == 4
        assert {turn.end for turn in Turn.objects.all()} == {"failed"}
        assert "API Error: 401" in here.turn(task).detail
        assert Interruption.objects.filter(trigger="agent-exited").count() == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=429, kind="rate_limit_error", times=1, retry_after=1),
        Fault(status=500, kind="api_error", times=1),
        Fault(status=529, kind="overloaded_error", times=1),
    ],
)
def test_an_api_that_fails_for_a_moment_costs_the_turn_nothing(installed: Installation, fault: Fault) -> None:
    with installed(Rule(match="Fix", steps=[fault, FIX, DONE])) as (here, _):
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.all()] == ["finished"]


@pytest.mark.parametrize(
    "fault", [Fault(status=500, kind="api_error"), Drop(text="I am abou")], ids=["always 500", "always cut off"]
)
def test_an_answer_that_never_comes_whole_is_no_finished_turn(installed: Installation, fault: Step) -> None:
    rules = Rule(match="Fix the failing", steps=[fault]), Rule(match="Your program ended", steps=[FIX, DONE])
    with installed(*rules) as (here, _):
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.order_by("n")] == ["failed", "finished"]


@pytest.mark.parametrize("sandbox", SANDBOXES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_killed_leaves_nothing_and_its_conversation_goes_on(
    installed: Installation, claude: str, number: signal.Signals, sandbox: Sandbox
) -> None:
    """What its tools started is in sessions of its own, which no signal to its group would reach."""
    rules = Rule(match="Fix the failing", steps=[LONG]), Rule(match="Your program ended", steps=[FIX, DONE])
    with installed(*rules, sandbox=sandbox) as (here, model):
        task = here.submit()
        here.until(lambda: at_work(here, here.turn(task)), "it is at work in its tool")
        program_of(here, claude).send_signal(number)
        here.until(lambda: Turn.objects.get(n=1).ended_at is not None, "the turn has ended")
        assert processes_of(here) == []
        assert Turn.objects.get(n=1).end != "finished"
        assert Turn.objects.get(n=1).input_tokens > 0
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert Turn.objects.get(n=2).end == "finished"
        assert "Fix the failing test" in model.heard[-1].body


def test_words_that_a_killed_program_took_along_are_told_again_and_once(installed: Installation, claude: str) -> None:
    """It is killed before it has kept its second turn's words in its conversation, which the third turn goes on in."""
    rules = Rule(match="Checks failed", steps=[FIX, DONE]), Rule(match="Fix the failing", steps=[sh("touch x"), DONE])
    with installed(*rules, scm={"plugin": "local", "checks": {"tests": "sh test.sh"}}) as (here, model):
        task = here.submit()
        here.until(lambda: here.turn(task).n == 2 and here.turn(task).started_at is not None, "it is told of the check")
        program_of(here, claude).kill()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end == "finished" for turn in Turn.objects.order_by("n")] == [True, False, True]
        told = here.sent(task, "ci-failed")
        assert [(message.turn.n, message.deliveries) for message in told if message.turn] == [(3, 1)]
        assert model.heard[-1].body.count(f"[message {told[0].pk}]") == 1
        assert "Fix the failing test" in model.heard[-1].body


def test_a_program_that_dies_before_it_has_kept_anything_costs_no_turn_more(
    installed: Installation, claude: str
) -> None:
    rules = Rule(match="Your program ended", steps=[FIX, DONE]), Rule(match="Fix the failing", steps=[LONG])
    with installed(*rules) as (here, model):
        task = here.submit()
        here.until(lambda: at_work(here, here.turn(task)), "it is at work in its tool")
        forget = Command(argv=("/bin/sh", "-c", 'rm -r "$HOME/.claude"'), workspace=here.session(task).workspace.name)
        program_of(here, claude).kill()
        here.until(lambda: not processes_of(here), "it is dead")
        assert here.port.inner.command(forget).code == 0
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end == "finished" for turn in Turn.objects.order_by("n")] == [False, True]
        assert model.heard[-1].words.count("Fix the failing test") == 1


def test_an_interrupt_while_the_model_is_asked_is_no_finished_turn(installed: Installation, claude: str) -> None:
    rules = Rule(match="Fix the failing", steps=[Hang()]), Rule(match="Your program ended", steps=[FIX, DONE])
    with installed(*rules) as (here, model):
        task = here.submit()
        here.until(lambda: any("Fix the failing" in one.words for one in model.heard), "the model is asked")
        program_of(here, claude).send_signal(signal.SIGINT)
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.order_by("n")] == ["failed", "finished"]


def test_a_conversation_that_is_lost_is_begun_anew_with_what_was_told_before(installed: Installation) -> None:
    rules = Rule(match="Checks failed", steps=[FIX, DONE]), Rule(match="Fix the failing", steps=[sh("touch x"), DONE])
    with installed(*rules, scm={"plugin": "local", "checks": {"tests": "sh test.sh"}}) as (here, model):
        task = here.submit()
        here.until(lambda: here.turn(task).published_at is not None, "the first turn is published")
        Session.objects.update(native_id=str(uuid4()))
        here.reach(task, TaskStatus.REVIEW_PENDING)
        assert [turn.end for turn in Turn.objects.order_by("n")] == ["finished", "failed", "finished"]
        assert "No conversation found" in Turn.objects.get(n=2).detail
        assert "Fix the failing test" in model.heard[-1].words


def test_each_turn_costs_what_its_own_requests_did(installed: Installation) -> None:
    rules = Rule(match="Checks failed", steps=[FIX, DONE]), Rule(match="Fix the failing", steps=[sh("touch x"), DONE])
    with installed(*rules, scm={"plugin": "local", "checks": {"tests": "sh test.sh"}}) as (here, model):
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        first, second = Turn.objects.order_by("n")
        asked = {
            n: sum(len(one.body.encode()) // 4 for one in model.heard if words in one.words)
            for n, words in ((1, "Fix the failing"), (2, "Checks failed"))
        }
        assert {1: first.input_tokens, 2: second.input_tokens} == asked
        assert first.output_tokens == second.output_tokens == 40
        assert float(first.cost_usd) / first.input_tokens == pytest.approx(
            float(second.cost_usd) / second.input_tokens, rel=0.05
        )


def test_the_agent_knows_no_token_of_a_forge(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("GITHUB_TOKEN", "GH_TOKEN", "GITLAB_TOKEN", "DATABASE_URL", "AO_SECRET_KEY")
    for name in names:
        monkeypatch.setenv(name, f"the-secret-{name}")
    look = sh(
        "env > all; git config --list >> all; cut -d= -f1 all | sort > names; grep -c the-secret all > found; rm all"
    )
    with installed(Rule(match="Fix", steps=[look, DONE])) as (here, _):
        task = here.submit()
        here.reach(task, TaskStatus.REVIEW_PENDING)
        known = here.repository.ask("show", f"{task.branch}:names").split()
        assert "ANTHROPIC_API_KEY" in known
        assert not set(names) & set(known)
        assert "credential.helper" not in known
        assert here.repository.ask("show", f"{task.branch}:found").strip() == "0"


def test_the_same_turn_started_twice_is_refused_by_the_program_itself(claude: str) -> None:
    with scripted_model([Rule(match="", steps=[DONE])]) as model, hostkit_home() as home:
        host = LocalHost(home)
        host.open_workspace("w")
        brief = Brief(task=1, session=1, turn=1, prompt="Fix it", config={"program": claude}, env=model.environment)
        launch = ClaudeCodeAgent().plan(brief)
        run = Run(
            id="turn-1", fence="f", epoch=1, workspace="w", argv=launch.argv, env=launch.env, stdin=launch.stdin,
            sandbox=Sandbox.NONE,
        )  # fmt: skip
        first, second = (ended_run(host, once) for once in (run, replace(run, id="turn-2")))
        asked = len(model.heard)
        assert first[0] == 0
        assert second[0] == 1
        assert b"is already in use" in second[1]
        assert len(model.heard) == asked
        host.close()


def ended_run(host: LocalHost, run: Run) -> tuple[int, bytes]:
    """Start a run and wait for its end: its exit code and its output."""
    host.start(run)
    output = b""
    while True:
        look = host.look(cursors={run.id: len(output)}, wait=5, timeout=15)
        output += b"".join(chunk.data for chunk in look.chunks if chunk.run == run.id)
        (state,) = [state for state in look.runs if state.id == run.id]
        if state.end is RunEnd.EXITED and len(output) >= state.size:
            assert state.exit_code is not None
            return state.exit_code, output
