"""The same answers in a hundredth of the time: a pull request is rendered by the real executor once for each state that it was in.

A simulated day asks for fifty pull requests at a time tens of thousands of times, of which hardly any has moved since.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphql import parse

from tests.fakegithub.graph import Graph, judged
from tests.fakegithub.views import Views
from tests.fakegithub.world import World

_PULL = re.compile(r"^ *p(\d+): pullRequest\(number: (\d+)\) (\{ \.\.\.\w+ \})\n", re.MULTILINE)


class Prepared(Graph):
    """Answers as the graph does. Whatever the world tells of a pull request makes it be rendered anew; mergeability is laid over."""

    def __init__(self, world: World, views: Views) -> None:
        super().__init__(world, views)
        self.rendered: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}  # by the query and who asks, and by number
        self._told = 0  # so much of what the world has told was taken in

    def execute(self, query: str, variables: Mapping[str, Any], *, who: str) -> dict[str, Any]:
        lines = list(_PULL.finditer(query))
        if not lines or any(line[1] != line[2] for line in lines):
            return super().execute(query, variables, who=who)
        _, wrong = judged(_asking(query, lines[:1]))
        if wrong:
            return {"errors": wrong}
        self._forget_what_moved()
        known = self.rendered.setdefault((_asking(query, []), who), {})
        fresh = [line for line in lines if int(line[1]) not in known]
        answer = self.carried_out(parse(_asking(query, fresh)), variables, who=who)
        repository = (answer["data"] or {}).get("repository")
        if repository is None or "errors" in answer:
            return answer
        known |= {int(line[1]): repository.pop(f"p{line[1]}") for line in fresh}
        for number in (int(line[1]) for line in lines):
            repository[f"p{number}"] = {**known[number], "mergeable": self.mergeable(self.world.pulls[number])}
        return answer

    def requests(self, query: str, variables: Mapping[str, Any]) -> int:
        """As the graph counts, without reading fifty times what was read once: every pull request costs the same."""
        lines = list(_PULL.finditer(query))
        count = super().requests
        if not lines:
            return count(query, variables)
        none, one = count(_asking(query, []), variables), count(_asking(query, lines[:1]), variables)
        return none + len(lines) * (one - none)

    def _forget_what_moved(self) -> None:
        heard, self._told = self.world.heard[self._told :], len(self.world.heard)
        for number in {number for event, _, about in heard for number in self._meant(event, about)}:
            for known in self.rendered.values():
                known.pop(number, None)

    def _meant(self, event: str, about: int) -> Iterable[int]:
        if event != "check_run":
            return [about]
        sha = self.world.checks[about].sha
        return [pull.number for pull in self.world.pulls.values() if pull.head_sha == sha]


def _asking(query: str, lines: Sequence[re.Match[str]]) -> str:
    """The same query for these pull requests alone."""
    bare = _PULL.sub("", query)
    place = query.index(_PULL.search(query)[0])  # type: ignore[index]  # it was found before
    return bare[:place] + "".join(line[0] for line in lines) + bare[place:]
