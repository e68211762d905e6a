"""The commands about reaction rules: what holds and why, and what others would have done."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from aoweb.cli import printing
from aoweb.cli.naming import task_id
from aoweb.cli.reading import read_file
from aoweb.cli.service import Failed, Misused, Service

NUMBERS = frozenset({"retries"})
SUMS = (
    ("message", "messages"),
    ("question", "questions"),
    ("escalation", "escalations"),
    ("merge", "merges by themselves"),
    ("stop", "stops"),
    ("check", "reruns of checks"),
)


def rules(
    service: Service,
    *,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="The project; else what holds for all.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="As they hold for one task.")] = None,
    trigger: Annotated[str | None, typer.Option("--trigger", help="One trigger, such as ci-failed.")] = None,
    versions: Annotated[bool, typer.Option("--versions", help="How they were changed, the newest first.")] = False,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="FIELD=VALUE", help="retries=3, auto=false, escalate_after=1h; again for more."),
    ] = None,
) -> None:
    """Show the effective rules and where each field came from, or set a trigger's fields."""
    if change is not None:
        if trigger is None or task is not None:
            raise Misused("say which rule with --trigger; the rules of a task are set with `ao spawn --rules FILE`")
        fields = dict(_field(one) for one in change)
        service.write("/rules/", {"project": project, "trigger": trigger, **fields}, method="PUT")
    pk = task_id(service, task) if task is not None else None
    if versions:
        _show_versions(service, project, pk, trigger)
        return
    page = service.get(f"/tasks/{pk}/rules/") if pk is not None else service.get("/rules/", project=project)
    rows = [row for row in page["results"] if trigger in {None, row["trigger"]}]
    if service.as_json:
        printing.as_json({"rules": rows})
        return
    for row in rows:
        told = [
            (name, one)
            for name, one in row["values"].items()
            if one["value"] not in (None, "", False) or one["from"] != "default"
        ]
        print(f"{row['trigger']}{_version(row['version'])}")
        print(f"  {printing.plain(row['says'])}")
        printing.table([(f"  {name}", json.dumps(one["value"]), one["from"]) for name, one in told])
        for warning in row["warnings"]:
            print(f"  warning: {printing.plain(warning)}")


def _version(number: int) -> str:
    return f" (version {number})" if number else ""


def _show_versions(service: Service, project: str | None, task: int | None, trigger: str | None) -> None:
    rows = list(service.pages("/rules/versions/", project=project, task=task, trigger=trigger))
    if service.as_json:
        printing.as_json({"versions": rows})
    elif not rows:
        print("the rules were never changed: they are as delivered")
    for row in [] if service.as_json else rows:
        where = f"task {row['task']}" if row["task"] else row["project"] or "all projects"
        print(
            f"version {row['version']}  {row['at'][:16]}  {row['trigger']} of {where}, by {printing.plain(row['by'])}"
        )
        for name in dict.fromkeys((*row["before"], *row["after"])):
            before, after = (json.dumps(row[when].get(name, "inherited")) for when in ("before", "after"))
            if before != after:
                print(printing.plain(f"  {name}: {before} -> {after}"))


def replay(
    service: Service,
    *,
    rules: Annotated[
        Path,
        typer.Option(
            "--rules",
            metavar="FILE",
            help="With `reactions:` alone, it is laid over the rules that held; a whole agent-orchestrator.yaml stands in their place.",
        ),
    ],
    days: Annotated[int, typer.Option("--days", min=1, max=365, help="How far back.")] = 30,
    project: Annotated[str | None, typer.Option("--project", "-p", help="One project; else all.")] = None,
) -> None:
    """Run other rules over what was recorded, and print what they would have done otherwise. Changes nothing."""
    wanted = {"text": read_file(rules), "path": str(rules), "days": days, "project": project or ""}
    found = _all_rounds(service, wanted)
    if service.as_json:
        printing.as_json(found)
        return
    print(f"{days} days: {found['tasks']} tasks, {found['decisions']} decisions")
    for warning in found["warnings"]:
        print(f"warning: {printing.plain(warning)}")
    for row in found["differing"]:
        _show_task(row)
    for row in found["unreadable"]:
        print(f"\n{row['key']} is left out: {printing.plain(row['why'])}")
    told = [
        f"{words} {found['was'][kind]} -> {found['now'][kind]}"
        for kind, words in SUMS
        if found["was"][kind] or found["now"][kind]
    ]
    print(f"\n{', '.join(told) or 'no rule did anything'}")
    print(f"{len(found['differing'])} of {found['tasks']} tasks differ. Nothing was changed.")


def _all_rounds(service: Service, wanted: dict[str, Any]) -> dict[str, Any]:
    """The service answers in rounds of a few seconds."""
    whole: dict[str, Any] = {"tasks": 0, "decisions": 0, "differing": [], "unreadable": [], "warnings": []}
    was: Counter[str] = Counter()
    now: Counter[str] = Counter()
    after: int | None = 0
    while after is not None:
        part = service.secret("/rules/replay/", {**wanted, "after": after})
        for name in ("tasks", "decisions", "differing", "unreadable"):
            whole[name] += part[name]
        was.update(part["was"])
        now.update(part["now"])
        whole["warnings"], after = part["warnings"], part["next"]
    return {**whole, "was": {kind: was[kind] for kind, _ in SUMS}, "now": {kind: now[kind] for kind, _ in SUMS}}


def _show_task(row: dict[str, Any]) -> None:
    print(printing.plain(f"\n{row['key']} {row['title']}"))
    parted = False
    for one in row["differences"]:
        if parted:
            print("         from here on the facts are those of the other course")
        print(f"  {_moment(one['at'])}  {one['trigger']}: {printing.plain(one['text'])}")
        parted = one["at"] == row["parts_at"]
    if parted:
        print("         from here on the facts are those of the other course")


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%d %b %H:%M:%S}"


def own_rules(file: Path) -> dict[str, Any]:
    """The reactions of a file, for one task. The service says what is wrong with them."""
    try:
        said = yaml.safe_load(read_file(file))
    except yaml.YAMLError as error:
        raise Failed(f"{file} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(said, dict):
        raise Failed(f"{file} is not keys and values: write reactions: {{ci-failed: {{retries: 1}}}}")
    reactions = said.get("reactions", said)
    if not isinstance(reactions, dict):
        raise Failed(f"{file}: reactions is not keys and values")
    return {str(trigger): inner for trigger, inner in reactions.items()}


def _field(text: str) -> tuple[str, Any]:
    """FIELD=VALUE; an empty value goes back to what is inherited."""
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise Misused(f"{text!r} is not FIELD=VALUE")
    name = name.strip().replace("-", "_")
    words = {"true": True, "false": False, "": None}
    if value in words:
        return name, words[value]
    if name in NUMBERS:
        if not value.isdigit():
            raise Misused(f"{name} is a whole number")
        return name, int(value)
    return name, value.split(",") if name == "action" else value
