"""What can be wrong with a configuration file, said so that its author can put it right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_VALUE = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigProblem:
    """One refused value: where it stands, what it is, what would be taken."""

    file: str
    line: int
    key: str
    value: str
    accepted: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key or 'the file'}: {shortened(self.value) or 'this'} is not accepted: {self.accepted}"


def shortened(value: str) -> str:
    """A value as far as a message shows it."""
    return value if len(value) <= LONGEST_VALUE else value[:LONGEST_VALUE] + "..."


class ConfigRefused(Exception):
    """The file was not taken; nothing of it was applied."""

    def __init__(self, problems: Sequence[ConfigProblem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
