"""Agents for fault tests: what they do goes to an append-only file, from which a checker reads what really happened.

Lines: `start TASK SESSION TURN PID STARTTIME`, `told TASK MESSAGE`, `end TASK SESSION TURN`, `overlap TASK PID` (another agent of the task
was alive when this one began).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from tests.installation import alive

# The first turn leaves the check red where the task's words say so; every later turn mends it. `slow` gives a killer time to aim.
AGENT = r"""
import os, re, subprocess, sys, time
log, pace = sys.argv[1], float(sys.argv[2])
task, session, turn = os.environ["AO_TASK"], os.environ["AO_SESSION"], os.environ["AO_TURN"]
prompt = sys.stdin.read()
def started(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
def zombie(pid):
    try:
        return open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
def say(line):
    with open(log, "a") as out:
        out.write(line + "\n")
me = os.getpid()
for line in open(log):
    words = line.split()
    if words[0] == "start" and words[1] == task and int(words[4]) != me and started(words[4]) == words[5] and not zombie(words[4]):
        say(f"overlap {task} {words[4]}")
say(f"start {task} {session} {turn} {me} {started(me)}")
for message in re.findall(r"^\[message ([0-9a-f-]{36})\]$", prompt, re.M):
    say(f"told {task} {message}")
time.sleep(pace)
git = lambda *words: subprocess.run(["git", *words], check=True, stdout=subprocess.DEVNULL)
name = f"work-{task}.txt"
first = not os.path.exists(name)
with open(name, "w") as out:
    out.write("broken\n" if first and "red once" in prompt else "right\n")
git("add", name)
if subprocess.run(["git", "diff", "--cached", "--quiet"]).returncode:
    git("commit", "-q", "-m", f"Work of task {task}, turn {turn}")
time.sleep(pace)
say(f"end {task} {session} {turn}")
"""

# Every file of work must be right.
CHECK = "! grep -l broken work-*.txt"


@dataclass(frozen=True, slots=True)
class Heard:
    """What the agents did, by somebody who saw it."""

    starts: Counter[tuple[str, str]]  # (task, turn) -> how often
    told: Counter[str]  # message -> how often
    overlaps: int


def heard(log: Path) -> Heard:
    """Read the agents' file."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return Heard(
        starts=Counter((words[1], words[3]) for words in lines if words[0] == "start"),
        told=Counter(words[2] for words in lines if words[0] == "told"),
        overlaps=sum(words[0] == "overlap" for words in lines),
    )


def living(log: Path) -> list[int]:
    """The agents that live, by the agents' file."""
    lines = [line.split() for line in log.read_text().splitlines()]
    return [int(words[4]) for words in lines if words[0] == "start" and alive(int(words[4]))]
