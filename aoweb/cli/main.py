"""The commands about tasks: what is going on, and what people do about it."""

from __future__ import annotations

import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from aoweb.cli import printing
from aoweb.cli.administration import add_administration
from aoweb.cli.commands import command
from aoweb.cli.naming import task_id
from aoweb.cli.rulebook import own_rules
from aoweb.cli.service import Misused, Service
from aoweb.cli.transcript import Telling

app = typer.Typer(
    name="ao",
    help="Speaks to a running service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
FOLLOW_SECONDS = 0.5
TaskArgument = Annotated[str, typer.Argument(metavar="TASK", help="Its id, or its key such as my-app#12.")]
ProjectOption = Annotated[str | None, typer.Option("--project", "-p", help="The project's key.")]


class Decision(StrEnum):
    APPROVE = "approve"
    REQUEST_CHANGES = "request_changes"
    COMMENT = "comment"


@command(app, "status")
def status(
    service: Service,
    *,
    task: Annotated[str | None, typer.Argument(metavar="[TASK]", help="One task; else all that are open.")] = None,
    project: ProjectOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Ended tasks too.")] = False,
) -> None:
    """Say what is going on, or everything about one task."""
    if task is not None:
        _show(service, service.get(f"/tasks/{task_id(service, task)}/"))
        return
    rows = list(service.pages("/tasks/", project=project, open=None if everything else "true"))
    if service.as_json:
        printing.as_json({"tasks": rows})
    elif not rows:
        print("no tasks")
    else:
        heading = ("ID", "TASK", "ATTENTION", "STATUS", "COST", "TITLE", "REASON")
        shown = ("id", "key", "attention", "status", "cost", "title", "reason")
        costs = [f"${row['cost_usd']:.2f}" if row["cost_usd"] else "" for row in rows]
        lines = [{**row, "cost": cost} for row, cost in zip(rows, costs, strict=True)]
        printing.table([heading, *([line[name] for name in shown] for line in lines)])


@command(app, "spawn")
def spawn(
    service: Service,
    *,
    title: Annotated[str, typer.Argument(help="What is to be done, in a line; may be left out with --issue.")] = "",
    project: ProjectOption = None,
    body: Annotated[
        str | None, typer.Option("--body", "-b", help="More words; - reads them from standard input.")
    ] = None,
    issue: Annotated[
        str | None,
        typer.Option(
            "--issue", help="The issue that it is about, such as #42: on a forge with issues its words are read."
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", help="Which agent; else the project's.")] = None,
    priority: Annotated[int, typer.Option("--priority", min=-100, max=100, help="Higher goes first.")] = 0,
    label: Annotated[list[str] | None, typer.Option("--label", help="May be given again.")] = None,
    depends_on: Annotated[
        list[str] | None, typer.Option("--depends-on", help="A task that must end first; again for more.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", metavar="FILE", help="Reactions for this task alone, as in agent-orchestrator.yaml."),
    ] = None,
    key: Annotated[str | None, typer.Option("--key", help="The same key again is the same task.")] = None,
) -> None:
    """Hand in a task."""
    wanted: dict[str, Any] = {"project": project or _only_project(service), "title": title, "priority": priority}
    wanted |= {"body": _words(body)} if body is not None else {}
    wanted |= {name: value for name, value in (("issue", issue), ("agent", agent), ("labels", label)) if value}
    wanted["depends_on"] = [task_id(service, one) for one in depends_on or []]
    wanted |= {"reactions": own_rules(rules)} if rules is not None else {}
    made = service.write("/tasks/", wanted, key=key)
    _done(service, made, f"{made['key']} ({made['id']}) {made['status']}: {made['title']}")


@command(app, "send")
def send(
    service: Service,
    *,
    task: TaskArgument,
    text: Annotated[str, typer.Argument(help="Your words; - reads standard input.")],
) -> None:
    """Say something to the agent."""
    made = service.write(f"/tasks/{task_id(service, task)}/messages/", {"text": _words(text)})
    _done(service, made, "sent")


@command(app, "answer")
def answer(
    service: Service,
    *,
    task: TaskArgument,
    text: Annotated[str, typer.Argument(help="Your answer; - reads standard input.")],
    request: Annotated[str | None, typer.Option("--request", help="Which question; else the open one.")] = None,
) -> None:
    """Answer what the agent asked."""
    pk = task_id(service, task)
    asked = request or (service.get(f"/tasks/{pk}/")["request"] or {}).get("id")
    if asked is None:
        raise Misused(f"the agent of {task} asks nothing at the moment")
    _done(service, service.write(f"/tasks/{pk}/answer/", {"request_id": asked, "answer": _words(text)}), "answered")


@command(app, "logs")
def logs(
    service: Service,
    *,
    task: TaskArgument,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task has ended.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="As the agent's program wrote it, line by line.")] = False,
) -> None:
    """Print what the agent did, all turns."""
    pk = task_id(service, task)
    told = [
        part
        for turn in service.get(f"/tasks/{pk}/transcript/")["turns"]
        for part in _turn(service, pk, turn, follow=follow, raw=raw)
    ]
    if service.as_json:
        printing.as_json({"turns": told})
    while follow and not service.as_json and service.get(f"/tasks/{pk}/")["outcome"] is None:
        later = service.get(f"/tasks/{pk}/transcript/")["turns"][len(told) :]
        told += [part for turn in later for part in _turn(service, pk, turn, follow=True, raw=raw)]
        time.sleep(FOLLOW_SECONDS)


def _turn(service: Service, pk: int, turn: dict[str, Any], *, follow: bool, raw: bool) -> list[dict[str, Any]]:
    """Print one turn to its end, or to where it is now."""
    after, text = 0, ""
    telling = Telling(turn.get("agent", ""))
    while True:
        part = service.get(f"/tasks/{pk}/transcript/", session=turn["session"], turn=turn["turn"], after=after)
        if not service.as_json:
            told = part["text"] if raw else telling.more(part["text"])
            print(printing.plain(told), end="", flush=True)
        text += part["text"]
        if part["next"] == after and not (follow and part["live"] and not service.as_json):
            if not service.as_json:
                print(printing.plain(telling.end()), end="", flush=True)
            return [{"session": turn["session"], "turn": turn["turn"], "text": text, "dropped": part["dropped"]}]
        if part["next"] == after:
            time.sleep(FOLLOW_SECONDS)
        after = part["next"]


@command(app, "why")
def why(
    service: Service,
    *,
    task: TaskArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many.")] = 10,
) -> None:
    """Say what a task waits for now, and what was decided and why, the newest first."""
    page = service.get(f"/tasks/{task_id(service, task)}/why/", limit=limit)
    if service.as_json:
        printing.as_json(page)
        return
    print(printing.plain(page["now"]["sentence"]))
    for line in page["now"]["why"]:
        print(f"  {printing.plain(line)}")
    for row in page["results"]:
        print(printing.plain(f"\n{row['at'][:19]}  {row['status']}: {row['reason']}"))
        for line in row["why"]:
            print(f"  {printing.plain(line)}")
        for key in row["made"]:
            print(f"  made {printing.plain(key)}")


@command(app, "review")
def review(
    service: Service,
    *,
    task: TaskArgument,
    decision: Annotated[Decision, typer.Argument(help="approve, request_changes or comment")],
    body: Annotated[str, typer.Option("--body", "-b", help="Your words; - reads standard input.")] = "",
    comment: Annotated[
        list[str] | None, typer.Option("--on", metavar="PATH:LINE:TEXT", help="On a line; again for more.")
    ] = None,
    head: Annotated[str, typer.Option("--head", help="The head that you looked at; refused when it moved.")] = "",
) -> None:
    """Review the head of a task's pull request."""
    comments = [_comment(one) for one in comment or []]
    wanted = {"decision": decision, "body": _words(body), "comments": comments, "head_sha": head}
    made = service.write(f"/tasks/{task_id(service, task)}/review/", wanted)
    _done(service, made, f"{made['decision']} at {made['head_sha'][:10]}")


@command(app, "merge")
def merge(service: Service, *, task: TaskArgument) -> None:
    """Merge exactly the head that is approved and green now."""
    _press(service, task, "merge", "will be merged")


@command(app, "cancel")
def cancel(service: Service, *, task: TaskArgument) -> None:
    """End a task without a merge."""
    _press(service, task, "cancel", "is being cancelled")


@command(app, "retry")
def retry(service: Service, *, task: TaskArgument) -> None:
    """Say: go on."""
    _press(service, task, "retry", "goes on")


@command(app, "restart")
def restart(service: Service, *, task: TaskArgument) -> None:
    """Give a task a new session, from what was published last."""
    _press(service, task, "restart", "gets a new session")


@command(app, "pause")
def pause(service: Service, *, task: TaskArgument) -> None:
    """Let no further turn begin until somebody resumes it; the live one comes to its end."""
    _press(service, task, "pause", "is paused")


@command(app, "resume")
def resume(service: Service, *, task: TaskArgument) -> None:
    """Let a paused task go on, or one whose budget is used up: it may use as much again."""
    _press(service, task, "resume", "goes on")


EscalationArgument = Annotated[
    int, typer.Argument(metavar="ESCALATION", min=1, help="Its id, as `ao escalations` says.")
]


@command(app, "escalations")
def escalations(
    service: Service,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that somebody is on, snoozed or resolved.")
    ] = False,
) -> None:
    """List what waits for people."""
    rows = list(service.pages("/escalations/", kind="all", state="all" if everything else None))
    if service.as_json:
        printing.as_json({"escalations": rows})
    elif rows:
        heading = ("ID", "TASK", "PRIORITY", "STATE", "ASKED", "QUESTION")
        printing.table(
            [heading, *((r["id"], r["task"], r["priority"], r["state"], r["asked_at"], r["question"]) for r in rows)]
        )
    else:
        print("nothing needs you")


@command(app, "acknowledge")
def acknowledge(
    service: Service,
    *,
    escalation: Annotated[
        int | None, typer.Argument(metavar="[ESCALATION]", min=1, help="Its id; else all open ones are listed.")
    ] = None,
) -> None:
    """Say that you are on it, or list those that are open."""
    if escalation is None:
        escalations(service, everything=False)
    else:
        _done(service, service.write(f"/escalations/{escalation}/acknowledge/"), "acknowledged")


@command(app, "snooze")
def snooze(
    service: Service,
    *,
    escalation: EscalationArgument,
    span: Annotated[str, typer.Argument(metavar="FOR", help="For how long, such as 30m, 4h or 2d.")] = "1h",
) -> None:
    """Put an escalation off: quiet for a while, and back after that."""
    body = service.write(f"/escalations/{escalation}/snooze/", {"for": span})
    _done(service, body, f"snoozed until {body['snoozed_until']}")


@command(app, "resolve")
def resolve(
    service: Service,
    *,
    escalation: EscalationArgument,
    how: Annotated[str, typer.Argument(help="How it was resolved.")],
) -> None:
    """Say that an escalation is over, and how."""
    body = service.write(f"/escalations/{escalation}/resolve/", {"resolution": how})
    _done(service, body, "resolved")


def _only_project(service: Service) -> str:
    keys = [row["key"] for row in service.get("/projects/")["results"]]
    if len(keys) != 1:
        raise Misused(
            f"say which project with --project: {', '.join(keys)}"
            if keys
            else "there is no project yet: ao start PATH-or-URL"
        )
    return str(keys[0])


def _words(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _comment(text: str) -> dict[str, Any]:
    path, _, rest = text.partition(":")
    line, _, body = rest.partition(":")
    if not path or not line.isdigit() or not body:
        raise Misused(f"{text!r} is not PATH:LINE:TEXT")
    return {"path": path, "line": int(line), "body": body}


def _press(service: Service, task: str, deed: str, outcome: str) -> None:
    body = service.write(f"/tasks/{task_id(service, task)}/{deed}/")
    _done(service, body, f"{body['key']} {outcome}")


def _show(service: Service, body: dict[str, Any]) -> None:
    if service.as_json:
        printing.as_json(body)
    else:
        printing.task(body)


def _done(service: Service, body: dict[str, Any], line: str) -> None:
    if service.as_json:
        printing.as_json(body)
    else:
        print(printing.plain(line))


add_administration(app)
