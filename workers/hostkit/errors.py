"""The two ways in which an operation of hostkit fails, as they travel to the caller."""

from __future__ import annotations


class KitError(Exception):
    """What is answered instead of a result: `kind` is `refused` or `unavailable`."""

    kind = "unavailable"

    def __init__(self, message: str, *, code: str = "", evidence: dict[str, object] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.evidence = evidence or {}


class Refused(KitError):
    """Trying the same again will not work; `code` says why in one stable word."""

    kind = "refused"


class Unavailable(KitError):
    """Trying the same again later may work."""


class Unstartable(KitError):
    """The program could not be executed."""
