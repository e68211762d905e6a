"""Escalations over the real processes: the clock is moved, beat stands still, workers and the whole service are killed; each call comes once,
within a minute of its deadline or of the service's return, and the task stays on the board until somebody acknowledges it."""

from __future__ import annotations

import hashlib
import hmac
import os
import signal
import time

import pytest

from tests.faults.matrix import Matrix
from tests.installation import Installation, installation, plain_repository, wait_for
from tests.receivers import Receiver, receiver

SECRET = "known to both"
FILE = """\
notifiers:
  pager: {{plugin: webhook, url: "{url}", secret: "${{HOOK_SECRET}}"}}
notificationRouting: {{urgent: [pager], action: [pager], warning: [pager], info: []}}
"""
DIES = ["/bin/sh", "-c", "exit 3"]


def told(hook: Receiver) -> list[tuple[str, str]]:
    """What the receiver was told, each message once, in order: its event and its id."""
    return list(dict.fromkeys((one.headers["X-AO-Event"], one.headers["X-AO-Delivery"]) for one in hook.taken))


def events(hook: Receiver) -> list[str]:
    return [event for event, _ in told(hook)]


def move_clock(matrix: Matrix, minutes: int, *, due_in: int = 0) -> None:
    """So many minutes have passed since it was asked, and what is due next is due in so many seconds."""
    matrix.ask(
        f"UPDATE orchestrator_interruption SET asked_at = asked_at - interval '{minutes} minutes',"
        f" told_at = told_at - interval '{minutes} minutes', wake_at = now() + interval '{due_in} seconds'"
        " WHERE wake_at IS NOT NULL RETURNING id"
    )


def kill(here: Installation, *names: str) -> None:
    for name in names:
        pid = here.child(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(400)
def test_each_call_comes_once_and_in_time_whatever_is_killed() -> None:
    with receiver() as hook, installation(HOOK_SECRET=SECRET) as here:
        repository = plain_repository(here.folder / "app", {"README": "hello\n"})
        here.start(str(repository.path))
        matrix = Matrix(here=here, repository=repository, log=here.folder / "log")
        matrix.configure(DIES, scm={"plugin": "local", "requiredChecks": []})
        answer = here.call("POST", "/config/", json={"text": FILE.format(url=hook.url)})
        assert answer.status_code == 200, answer.text
        task = here.call("POST", "/tasks/", json={"project": "app", "title": "Its agent dies"}).json()
        wait_for(lambda: events(hook) == ["asked"], "somebody is called")

        beat = here.child("beat")
        assert beat is not None
        os.kill(beat, signal.SIGSTOP)
        move_clock(matrix, 16)
        wait_for(lambda: events(hook) == ["asked", "climbed"], "without any beat the next rung is called", seconds=60)
        os.kill(beat, signal.SIGCONT)

        move_clock(matrix, 50)
        kill(here, "control", "host", "beat")
        wait_for(lambda: len(events(hook)) == 3, "killed in the middle, it is told all the same", seconds=60)

        move_clock(matrix, 40, due_in=2)
        here.kill()
        time.sleep(3)  # the deadline passes while nothing runs
        here.start(str(repository.path))
        back = time.monotonic()
        wait_for(lambda: len(events(hook)) == 4, "the service is back, and with it what was due", seconds=60)
        assert time.monotonic() - back < 60

        assert events(hook) == ["asked", "climbed", "climbed", "reminded"]
        assert matrix.ask("SELECT count(*) FROM orchestrator_interruption") == [(1,)]
        assert here.patient("GET", f"/tasks/{task['id']}/").json()["attention"] == "respond"
        for one in hook.taken:
            signed = one.headers["X-AO-Timestamp"].encode() + b"." + one.body
            expected = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
            assert one.headers["X-AO-Signature"] == f"sha256={expected}"

        (asked,) = here.patient("GET", "/escalations/?kind=all").json()["results"]
        assert here.patient("POST", f"/escalations/{asked['id']}/acknowledge/").status_code == 202
        assert matrix.ask("SELECT wake_at FROM orchestrator_interruption") == [(None,)]
