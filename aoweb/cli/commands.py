"""Makes a function that speaks to the service a command: adds the options that every one has, and turns failures into exit codes."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from aoweb.cli.service import Failed, Misused, Service, connect

FAILED, MISUSED = 1, 2
_COMMON: dict[str, tuple[Any, object]] = {
    "url": (
        Annotated[
            str | None, typer.Option("--url", help="Where the service is. Else AO_URL, else what `ao start` left.")
        ],
        None,
    ),
    "token": (Annotated[str | None, typer.Option("--token", help="Who you are there. Else AO_TOKEN, likewise.")], None),
    "home": (
        Annotated[Path | None, typer.Option("--home", help="The installation whose service is meant. Else AO_HOME.")],
        None,
    ),
    "as_json": (Annotated[bool, typer.Option("--json", help="Print the answer as JSON.")], False),
}


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Register a function whose first parameter is the `Service` and whose docstring is the help."""

    def register(function: Callable[..., None]) -> Callable[..., None]:
        def run(**given: Any) -> None:
            common = {option: given.pop(option) for option in _COMMON}
            try:
                function(connect(**common), **given)
            except Failed as error:
                _stop(error, FAILED)
            except Misused as error:
                _stop(error, MISUSED)

        hints = get_type_hints(function, include_extras=True)
        own = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function).parameters.values()
            if hints[parameter.name] is not Service
        ]
        added = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for option, (kind, default) in _COMMON.items()
        ]
        run.__doc__, run.__name__ = function.__doc__, function.__name__
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
        run.__signature__ = inspect.Signature([*own, *added])  # type: ignore[attr-defined]  # functions take one, typeshed does not say so
        app.command(name)(run)
        return function

    return register


def _stop(error: Exception, code: int) -> None:
    line = " ".join(str(error).split())
    print(f"ao: {line}", file=sys.stderr)
    raise typer.Exit(code) from None
