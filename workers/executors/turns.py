"""Start and stop an agent's turns."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from django.utils import timezone

from orchestrator.domain.actions import StartTurn, StopAgent
from orchestrator.domain.snapshot import TurnEnd
from orchestrator.models import HookRun, Host, Session, Turn
from orchestrator.ports import NO_CONVERSATION, Agent, Brief, Command, Launch, Refused, Run, RunEnd, Sandbox
from orchestrator.ports import Host as HostPort
from orchestrator.services import sessions, telling
from workers.executors.hooks import must_succeed
from workers.executors.issues import must_be_active
from workers.executors.specs import bring, environment_of, mirror_on, renewed_deadline, spec_for
from workers.failpoints import failpoint
from workers.toolbox import Toolbox, sandbox_for

BRINGING = 20.0  # seconds of a job that may be spent on carrying the base to a host
_MESSAGE = re.compile(r"\[message ([0-9a-f-]{36})\]")
_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SYSTEM = ("/usr", "/bin", "/lib", "/lib64", "/etc", "/sbin")


def start_turn(action: StartTurn, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """The turn's row is first, then the run under the row's id: started twice, the host answers with the first."""
    del task_id
    session = Session.objects.select_related("task__project", "host", "workspace", "workflow").get(pk=action.session)
    project = session.task.project
    agent = tools.agent(session.agent)
    # What a project sets is meant for its own agent, not for another one that a task asks for.
    general = project.agent_config if session.agent == project.agent else {}
    config = {**general, **session.task.agent_config}
    agent.check(config)
    host = tools.host(session.host)
    must_be_active(session, tools)
    must_succeed(session, HookRun.Hook.BEFORE_RUN, action.turn, tools)
    known = _known_after_a_death(session, action.turn, agent, tools, host)
    turn = sessions.begin_turn(session_id=session.pk, n=action.turn, now=timezone.now(), known=known)
    failpoint("after_begin_turn")
    if action.turn > 1:
        _bring_base(session, tools, host)
    brief = Brief(
        task=session.task_id,
        session=session.pk,
        turn=turn.n,
        prompt=turn.prompt,
        native_id=session.native_id or None,
        earlier=telling.told_before(turn),
        config=config,
        env=environment_of(project),
    )
    run = _run(session, turn, agent.plan(brief), tools, host)
    there = session.host.kind == Host.Kind.LOCAL and _of_the_system(run.argv[0])
    missing = _missing(run, host) if turn.n == 1 and not there else ""
    state = host.start(run) if not missing else None
    failpoint("after_run")
    if state is None or state.end is RunEnd.UNSTARTABLE:
        sessions.turn_unstartable(turn_id=turn.pk)
        why = missing if state is None else state.detail
        raise Refused(f"{session.agent} cannot be started: {why}. {agent.install_hint}", code="agent-not-installed")
    sessions.turn_started(turn_id=turn.pk, now=timezone.now())
    return {"run": turn.run_id, "live": state.live}


def _known_after_a_death(
    session: Session, n: int, agent: Agent, tools: Toolbox, host: HostPort
) -> frozenset[str] | None:
    """The messages that the agent's conversation holds, where the last turn's program died and may have taken words along. None: nothing was
    lost, or there is nobody to ask. Where the whole conversation is lost the turn begins another, which is told everything."""
    died = Turn.objects.filter(session=session, n=n - 1).exclude(end=TurnEnd.FINISHED).exists()
    begun = Turn.objects.filter(session=session, n=n).exists()
    argv = agent.recall(session.native_id) if died and not begun and session.native_id else None
    if argv is None:
        return None
    asked = Command(
        argv=argv,
        workspace=session.workspace.name,
        env=environment_of(session.task.project),
        sandbox=sandbox_for(session.task.project, session.host),
        readonly=(mirror_on(session.host, session.task.project, tools),),
    )
    answer = host.command(asked, timeout=10)
    if answer.code == NO_CONVERSATION:
        session.native_id = ""
        sessions.conversation_lost(session_id=session.pk, now=timezone.now())
    return frozenset(_MESSAGE.findall(answer.stdout.decode(errors="replace"))) if answer.code == 0 else None


def _of_the_system(program: str) -> bool:
    """Whether the program is one that every sandbox of this machine shows, so that nothing has to be looked up inside."""
    found = shutil.which(program, path=_SYSTEM_PATH)
    return found is not None and found.startswith(_SYSTEM)


def _missing(run: Run, host: HostPort) -> str:
    """What is wrong with the program inside its sandbox, where a start would only show that the sandbox ended."""
    if run.sandbox is Sandbox.NONE:
        return ""
    look_up = Command(
        argv=("/bin/sh", "-c", 'command -v -- "$1" > /dev/null', "sh", run.argv[0]),
        workspace=run.workspace,
        env=run.env,
        sandbox=run.sandbox,
        readonly=run.readonly,
    )
    return "" if host.command(look_up, timeout=10).code == 0 else f"the sandbox shows no program {run.argv[0]}"


def _bring_base(session: Session, tools: Toolbox, host: HostPort) -> None:
    """Show the agent today's base, so that it can rebase on it."""
    project = session.task.project
    spec = spec_for(session, session.workspace, tools, base_sha=project.base_sha)
    bring(project.base_sha, session.host, project, tools, timeout=BRINGING)
    tools.workspaces.set_base(spec, host)


def _run(session: Session, turn: Turn, launch: Launch, tools: Toolbox, host: HostPort) -> Run:
    project = session.task.project
    mirror = mirror_on(session.host, project, tools)
    return Run(
        id=turn.run_id,
        fence=session.fence,
        epoch=session.epoch,
        workspace=session.workspace.name,
        argv=launch.argv,
        env=launch.env,
        stdin=launch.stdin,
        keep_stdin_open=launch.keep_stdin_open,
        files=launch.files,
        sandbox=sandbox_for(project, session.host),
        readonly=(mirror, *project.symlinks.values(), *_programs(launch.argv, session.host, host)),
        deadline=renewed_deadline(session),
    )


def _programs(argv: tuple[str, ...], row: Host, host: HostPort) -> tuple[str, ...]:
    """Absolute paths that the command names and that the sandbox would not show: the program, its script."""
    named = [word for word in argv if word.startswith("/") and not word.startswith(_SYSTEM)]
    if row.kind == Host.Kind.LOCAL or not named:
        return tuple(str(Path(word)) for word in named if Path(word).exists())
    look_up = Command(
        argv=("/bin/sh", "-c", 'for path; do [ ! -e "$path" ] || printf "%s\\0" "$path"; done', "sh", *named)
    )
    return tuple(path for path in host.command(look_up, timeout=10).stdout.decode().split("\0") if path)


def stop_agent(action: StopAgent, task_id: int, tools: Toolbox) -> Mapping[str, object]:
    """Interrupt, terminate, kill: afterwards nothing of the turn is alive. Its end is seen like any other."""
    del task_id
    turn = Turn.objects.select_related("session__host").get(session_id=action.session, n=action.turn)
    tools.host(turn.session.host).stop(turn.run_id)
    return {"run": turn.run_id}
