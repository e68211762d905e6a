"""Eyes: one channel per host, which tells how runs stand and what they say."""

from __future__ import annotations

import logging
import threading
from datetime import datetime, timedelta
from functools import partial

from django.db import InterfaceError, OperationalError, close_old_connections, connection
from django.db.models import Q
from django.utils import timezone

from orchestrator.models import Check, Host, Session, Turn, Workspace
from orchestrator.ports import AgentEvent, Look, PortError, RunEnd, RunState
from orchestrator.ports import Host as HostPort
from orchestrator.services import checks, hooks, observations, sessions, transcripts
from orchestrator.services.observations import Watched
from orchestrator.services.sessions import Overtaken
from workers import runner
from workers.executors.hooks import TIMED_OUT
from workers.identity import known_dead
from workers.toolbox import Toolbox

logger = logging.getLogger(__name__)

CHANNEL_LEASE = timedelta(seconds=20)
WAIT = 5.0  # seconds a look waits for news
PROGRAMS = ("claude", "codex", "aider", "opencode")
LONGEST_LINE = 1024 * 1024  # bytes; an agent that asks for a permission shows all that it wants to write
LOG_TAIL = 20_000  # bytes of a check's log that people and agents see


class HostChannel:
    """The one thread of a process that watches a host: it holds the host's channel lease in the database, or waits for it."""

    def __init__(self, *, host_name: str, holder: str, tools: Toolbox, wait: float = WAIT) -> None:
        self._name = host_name
        self._holder = holder
        self._tools = tools
        self._wait = wait
        self._stop = threading.Event()
        self._known = False

    def run(self) -> None:
        """Until `stop`: look, take in, look again. Whatever fails is a silent host or a silent database, and tried again."""
        while not self._stop.is_set():
            close_old_connections()
            try:
                if not self.once():
                    self._stop.wait(1)
            except (OperationalError, InterfaceError):
                logger.warning("the channel waits for the database", extra={"host": self._name})
                self._stop.wait(1)
        self._release()

    def stop(self) -> None:
        self._stop.set()

    def _release(self) -> None:
        Host.objects.filter(name=self._name, channel_holder=self._holder).update(channel_until=None)

    def once(self) -> bool:
        """One look. False: somebody else holds the channel, or the host does not answer."""
        host = self._held()
        if host is None:
            return False
        port = self._tools.host(host)
        try:
            if not self._known or not host.facts.get("hostkit"):
                facts = port.facts(programs=PROGRAMS)
                observations.host_seen(
                    host=host,
                    now=_received_at(host),
                    boot_id=facts.boot_id,
                    boottime=facts.boottime,
                    free_bytes=facts.free_bytes,
                    facts=facts,
                )
                self._known = True
            watched = {one.run: one for one in observations.watched_runs(host=host)}
            close_old_connections()  # nearly all its life this thread waits for the host, and needs none
            look = port.look(
                cursors={run: one.cursor for run, one in watched.items()}, wait=self._wait, timeout=self._wait + 10
            )
            _renew(host, port, look)
        except PortError as error:
            observations.host_silent(host=host, now=timezone.now(), trouble=str(error))
            return False
        self._known = look.boot_id == host.boot_id  # what a machine can do may be otherwise after a restart
        observations.host_seen(
            host=host, now=_received_at(host), boot_id=look.boot_id, boottime=look.boottime, free_bytes=look.free_bytes
        )
        self._take_in(host, port, watched, look)
        return True

    def _held(self) -> Host | None:
        now = timezone.now()
        holder = Host.objects.filter(name=self._name).values_list("channel_holder", flat=True).first() or ""
        mine = Q(channel_holder=self._holder) | Q(channel_until__isnull=True) | Q(channel_until__lte=now)
        if known_dead(holder):
            mine |= Q(channel_holder=holder)
        changed = (
            Host.objects.present()
            .filter(mine, name=self._name)
            .update(channel_holder=self._holder, channel_until=now + CHANNEL_LEASE)
        )
        return Host.objects.get(name=self._name) if changed else None

    def _take_in(self, host: Host, port: HostPort, watched: dict[str, Watched], look: Look) -> None:
        """Run by run: what goes wrong with one is shown again by the next look, and hides none of the others."""
        for chunk in look.chunks:
            if chunk.run in watched:
                take = partial(self._take_chunk, watched[chunk.run], chunk.offset, chunk.data)
                # Bytes that cannot be understood are kept without being understood, or their turn would never end.
                if not runner.unhindered(f"reading {chunk.run}", take):
                    runner.unhindered(f"keeping {chunk.run}", partial(take, understood=False))
        states = {state.id: state for state in look.runs}
        for run, one in watched.items():
            state = states.get(run) or (_lost(one) if one.started else None)
            if state is not None and state.end is not None:
                runner.unhindered(f"ending {run}", partial(self._take_end, host, one, state))
        runner.unhindered("stopping strays", partial(_stop_strays, host, port, watched, look))
        for room in checks.forsaken(host=host):
            runner.unhindered(f"removing {room.name}", partial(_remove, port, room))

    def _take_chunk(self, one: Watched, offset: int, data: bytes, *, understood: bool = True) -> None:
        if not one.run.startswith("turn-"):
            observations.append_journal(run=one.run, offset=offset, data=data)
            return
        heard, parsed_to = self._parse(one, offset, data) if understood else ([], offset + len(data))
        task = observations.turn_progressed(
            turn_id=_id_of(one.run), offset=offset, data=data, parsed_to=parsed_to, heard=heard, now=timezone.now()
        )
        if task is not None:
            _show(task_id=task.pk, news=bool(heard))

    def _parse(self, one: Watched, offset: int, data: bytes) -> tuple[list[AgentEvent], int]:
        """The events in the lines that are complete now. A line that began in an earlier chunk is read from what is stored."""
        agent = self._tools.agents.get(one.agent)
        start = one.parsed_to
        head = transcripts.read(run=one.run, after=start, cap=offset - start)[0] if start < offset else b""
        text = head + data
        end = text.rfind(b"\n") + 1
        if end == 0 and len(text) > LONGEST_LINE:
            return [], offset + len(data)  # no line is that long: what is in it is transcript only
        lines = text[:end].splitlines() if agent is not None else []
        return [event for line in lines for event in (agent.read(line) if agent is not None else ())], start + end

    def _take_end(self, host: Host, one: Watched, state: RunState) -> None:
        now = timezone.now()
        if one.run.startswith("turn-"):
            agent = self._tools.agents.get(one.agent)
            task = observations.turn_ended(
                turn_id=_id_of(one.run),
                state=state,
                now=now,
                tells_its_end=agent is not None and agent.tells_its_end,
            )
            if task is not None:
                runner.decide_on(task.pk)
        elif one.run.startswith("check-"):
            self._end_check(host, one, state)
        elif one.run.startswith("hook-"):
            _end_hook(one, state)
        else:
            try:
                _end_setup(one, state)
            except Overtaken:  # its session was ended meanwhile: nobody waits for it any more
                logger.info("a setup is not wanted any more", extra={"run": one.run})

    def _end_check(self, host: Host, one: Watched, state: RunState) -> None:
        check_id = _id_of(one.run)
        log, _ = transcripts.read(run=one.run, after=max(state.size - LOG_TAIL, 0), cap=LOG_TAIL)
        for workspace in Workspace.objects.filter(name__startswith=f"c-{check_id}-", removed_at__isnull=True):
            self._tools.host(host).remove_workspace(workspace.name)
            checks.removed(workspace=workspace, now=timezone.now())
        ended = observations.check_ended(
            check_id=check_id, state=state, log=log.decode(errors="replace"), now=timezone.now()
        )
        if ended is not None:
            runner.decide_on(ended.pk)


def _remove(port: HostPort, room: Workspace) -> None:
    port.remove_workspace(room.name)
    checks.removed(workspace=room, now=timezone.now())


def _lost(one: Watched) -> RunState:
    """A run that the host had and knows nothing of any more, because its files are gone."""
    return RunState(
        id=one.run,
        fence="",
        epoch=0,
        live=False,
        end=RunEnd.LOST,
        exit_code=None,
        signal=None,
        size=one.cursor,
        dropped=0,
        started_at=None,
        ended_at=None,
        detail="the host knows nothing of it any more",
    )


def _received_at(host: Host) -> datetime:
    """When a look is received: by the database's clock where we are on another machine, for a successor is placed by what is written here."""
    if host.kind != Host.Kind.WORKER:
        return timezone.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def _renew(host: Host, port: HostPort, look: Look) -> None:
    """Let the agents of another machine live on: for the span after which a successor may be placed, from the last look that was written
    down. This look may be one that nobody ever hears of, and then the successor does not wait for it."""
    seen = host.facts.get("boottime")
    if host.kind == Host.Kind.LOCAL or seen is None or look.boot_id != host.boot_id:
        return
    live = Session.objects.live().filter(host=host, task__project__reassign_after__isnull=False)
    spans = {session.fence: session.task.project.reassign_after for session in live.select_related("task__project")}
    deadlines = {fence: seen + span.total_seconds() for fence, span in spans.items() if span is not None}
    if deadlines:
        port.renew(deadlines)


def _id_of(run: str) -> int:
    return int(run.split("-")[1])


def _show(*, task_id: int, news: bool) -> None:
    """News of an agent is decided on; bytes alone only change what pages show."""
    if news:
        runner.decide_on(task_id)


def _end_hook(one: Watched, state: RunState) -> None:
    how = f"exit code {state.exit_code}" if state.end is RunEnd.EXITED else str(state.end)
    if state.end is RunEnd.DEADLINE or state.exit_code == TIMED_OUT:
        how = "it ran longer than hooks.timeout_ms allows"
    succeeded = state.end is RunEnd.EXITED and state.exit_code == 0
    words = f"{how}: {_last_words(one, state)}"
    hooks.ended(hook_id=_id_of(one.run), succeeded=succeeded, detail=words, now=timezone.now())


def _last_words(one: Watched, state: RunState) -> str:
    log, _ = transcripts.read(run=one.run, after=max(state.size - 2000, 0))
    words = log.decode(errors="replace").strip().splitlines()[-1:] or ["no output"]
    return words[0][:300]


def _end_setup(one: Watched, state: RunState) -> None:
    session = Session.objects.select_related("task__project", "workspace").get(pk=_id_of(one.run))
    if state.end is RunEnd.EXITED and state.exit_code == 0:
        base_sha = session.published_sha or session.task.project.base_sha
        sessions.prepared(session_id=session.pk, base_sha=base_sha, path=session.workspace.path, now=timezone.now())
    else:
        what = "postCreate" if session.task.project.post_create else "hook after_create"
        sessions.set_up_failed(
            session_id=session.pk,
            attempt=int(one.run.split("-")[2]),
            error=f"{what} failed ({state.end}, exit code {state.exit_code}): {_last_words(one, state)}",
            now=timezone.now(),
        )
    runner.decide_on(session.task_id)


def _stop_strays(host: Host, port: HostPort, watched: dict[str, Watched], look: Look) -> None:
    """Live runs that nobody should have: of turns that we hold for ended, or of tasks that are gone."""
    for state in look.runs:
        if state.live and state.id not in watched and state.id.startswith("turn-"):
            turn = Turn.objects.filter(pk=_id_of(state.id)).select_related("session").first()
            if turn is None or turn.ended_at is not None:
                logger.warning("a stray run is stopped", extra={"run": state.id, "host": host.name})
                port.stop(state.id)
        if state.live and state.id.startswith("check-"):
            check = Check.objects.filter(pk=_id_of(state.id)).select_related("pull_request__task").first()
            if check is None or not check.wanted:
                port.end(state.fence, epoch=state.epoch)  # at once: nobody reads what it would still say
