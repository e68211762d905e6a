"""References to secrets: settings keep ${NAME}, and its value is read from the environment where it is used and kept nowhere else."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from orchestrator.ports import Refused
from orchestrator.services.configuration.file import OUR_OWN, REFERENCE


def resolved(settings: Mapping[str, Any], *, of: str) -> dict[str, Any]:
    """The settings with every ${NAME} read. Refused codes: `secret-missing`; `secret-forbidden` for names of the server's own."""
    return {name: _read(value, of=of) for name, value in settings.items()}


def _read(value: Any, *, of: str) -> Any:
    if isinstance(value, Mapping):
        return resolved(value, of=of)
    if isinstance(value, list):
        return [_read(inner, of=of) for inner in value]
    if not isinstance(value, str):
        return value
    for name in REFERENCE.findall(value):
        if OUR_OWN.fullmatch(name):
            raise Refused(
                f"{of} names ${{{name}}}, which is the server's own: use another name", code="secret-forbidden"
            )
        if name not in os.environ:
            raise Refused(
                f"{of} needs ${{{name}}}, which is not set where the workers run: set it there and start them again",
                code="secret-missing",
            )
    return REFERENCE.sub(lambda found: os.environ[found[1]], value)
