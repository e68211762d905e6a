"""The commands about the installation: rules, the configuration file, tokens, the board."""

from __future__ import annotations

import sys
import webbrowser
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from aoweb.cli import printing
from aoweb.cli.commands import command
from aoweb.cli.hosts import hosts
from aoweb.cli.reading import read_file
from aoweb.cli.rulebook import replay, rules
from aoweb.cli.service import Failed, Misused, Service

tokens = typer.Typer(help="Make, list and revoke tokens.", no_args_is_help=True)


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"


def apply(
    service: Service,
    *,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="agent-orchestrator.yaml or WORKFLOW.md; - reads standard input.")
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would change.")] = False,
    project: Annotated[
        str | None, typer.Option("--project", "-p", help="Whose workflow a WORKFLOW.md is, where there are several.")
    ] = None,
) -> None:
    """Make the installation say what the file says."""
    text = read_file(file)
    if file.suffix.lower() == ".md" or text.startswith("---\n"):
        _apply_workflow(service, file, text, plan=plan, project=project)
        return
    planned = service.write("/config/", {"text": text, "path": str(file), "plan": True})
    answer = planned if plan else service.write("/config/", {"text": text, "path": str(file)})
    for warning in planned["warnings"]:
        print(f"ao: {printing.plain(warning)}", file=sys.stderr)
    if service.as_json:
        printing.as_json(answer)
        return
    for change in planned["changes"]:
        named = f": {', '.join(change['changed'])}" if change["changed"] else ""
        print(f"{change['kind']:9} {printing.plain(change['what'])}{named}")
    if all(change["kind"] == "unchanged" for change in planned["changes"]):
        print("nothing to change")
    else:
        print("nothing was changed: this is the plan" if plan else "applied")


def _apply_workflow(service: Service, file: Path, text: str, *, plan: bool, project: str | None) -> None:
    """A WORKFLOW.md is one project's."""
    if project is None:
        known = [row["key"] for row in service.pages("/projects/")]
        if len(known) != 1:
            raise Misused(f"say whose workflow it is with --project: there is {', '.join(known) or 'no project yet'}")
        (project,) = known
    path = str(file.resolve()) if str(file) != "-" else "WORKFLOW.md"
    answer = service.write(f"/projects/{project}/workflow/", {"text": text, "path": path, "plan": plan}, method="PUT")
    if service.as_json:
        printing.as_json(answer)
        return
    if not answer["diff"]:
        print("nothing to change")
        return
    print(printing.plain(answer["diff"]))
    done = "nothing was changed: this is the plan" if plan else f"applied: version {answer['version']} of {project}"
    print(done)


def export(
    service: Service,
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it there; else it is printed.")] = None,
) -> None:
    """Write the configuration file that says what the installation says."""
    body = service.get("/config/")
    if output is not None:
        try:
            output.write_text(body["text"])
        except OSError as error:
            raise Failed(f"cannot write {output}: {error.strerror}") from error
    elif service.as_json:
        printing.as_json(body)
    else:
        print(body["text"], end="")


def schema(service: Service) -> None:
    """Print the JSON Schema of agent-orchestrator.yaml, for editors."""
    printing.as_json(service.document("/schema/agent-orchestrator.json"))


def open_board(
    service: Service,
    *,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or print only.")] = True,
) -> None:
    """Open the board in a browser, logged in. The link works once."""
    body = service.secret("/login-links/")
    if service.as_json:
        printing.as_json(body)
        return
    print(body["url"])
    if browser and sys.stdout.isatty():
        webbrowser.open(body["url"])


@command(tokens, "list")
def list_tokens(service: Service) -> None:
    """List your tokens."""
    rows = list(service.pages("/tokens/"))
    if service.as_json:
        printing.as_json({"tokens": rows})
        return
    heading = ("ID", "NAME", "BEGINS", "SCOPE", "EXPIRES", "USED")
    printing.table(
        [heading, *((r["id"], r["name"], r["prefix"], r["scope"], r["expires_at"], r["used_at"]) for r in rows)]
    )


@command(tokens, "create")
def create_token(
    service: Service,
    *,
    name: Annotated[str, typer.Argument(help="What it is for.")],
    scope: Annotated[Scope, typer.Option("--scope", help="read or write")] = Scope.WRITE,
    days: Annotated[
        int | None, typer.Option("--days", min=1, max=3650, help="How long it lives; else for ever.")
    ] = None,
) -> None:
    """Make a token; it is printed this once."""
    expires_at = (datetime.now(UTC) + timedelta(days=days)).isoformat() if days else None
    body = service.secret("/tokens/", {"name": name, "scope": scope, "expires_at": expires_at})
    if service.as_json:
        printing.as_json(body)
    else:
        print(body["token"])


@command(tokens, "revoke")
def revoke_token(
    service: Service,
    *,
    number: Annotated[int, typer.Argument(metavar="ID", min=1, help="As `ao token list` shows it.")],
) -> None:
    """From here on the token opens nothing."""
    service.secret(f"/tokens/{number}/", method="DELETE")
    if service.as_json:
        printing.as_json({"revoked": number})
    else:
        print("revoked")


def add_administration(app: typer.Typer) -> None:
    """Register these commands."""
    for name, function in (
        ("rules", rules),
        ("replay", replay),
        ("apply", apply),
        ("export", export),
        ("schema", schema),
        ("open", open_board),
    ):
        command(app, name)(function)
    app.add_typer(tokens, name="token")
    app.add_typer(hosts, name="host")
