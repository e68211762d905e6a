"""The same answers in a hundredth of the time: a pull request is rendered by the real executor once for each state that it was in.

A simulated day asks for fifty pull requests at a time tens of thousands of times, of which hardly any has moved since.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from graphql import parse

from tests.fakegithub import documents, quota
from tests.fakegithub.graph import Graph, judged
from tests.fakegithub.views import Views
from tests.fakegithub.world import World

_PULL = re.compile(r"^ *p(\d+): pullRequest\(number: (\d+)\) (\{ \.\.\.\w+.* \})\n", re.MULTILINE)


class Prepared(Graph):
    """Answers as the graph does. Whatever the world tells of a pull request makes it be rendered anew; mergeability is laid over."""

    def __init__(self, world: World, views: Views) -> None:
        super().__init__(world, views)
        # By the query and who asks; then by number and by what is asked of it.
        self.rendered: dict[tuple[str, str], dict[tuple[int, str], dict[str, Any]]] = {}
        self._told = 0  # so much of what the world has told was taken in

    def execute(self, query: str, variables: Mapping[str, Any], *, who: str) -> dict[str, Any]:
        lines = list(_PULL.finditer(query))
        if not lines or any(line[1] != line[2] for line in lines):
            return super().execute(query, variables, who=who)
        _, wrong = judged(_asking(query, _one_of_each(lines)))
        if wrong:
            return {"errors": wrong}
        self._forget_what_moved()
        known = self.rendered.setdefault((_asking(query, []), who), {})
        fresh = [line for line in lines if (int(line[1]), line[3]) not in known]
        answer = self.carried_out(parse(_asking(query, fresh)), variables, who=who)
        repository = (answer["data"] or {}).get("repository")
        if repository is None or "errors" in answer:
            return answer
        known |= {(int(line[1]), line[3]): repository.pop(f"p{line[1]}") for line in fresh}
        for number, asked in ((int(line[1]), line[3]) for line in lines):
            repository[f"p{number}"] = {**known[number, asked], "mergeable": self.mergeable(self.world.pulls[number])}
        return answer

    def requests(self, query: str, variables: Mapping[str, Any]) -> int:
        """As the graph counts, without reading fifty times what was read once: of whom the same is asked costs the same."""
        lines = list(_PULL.finditer(query))
        if not lines or judged(_asking(query, _one_of_each(lines)))[1]:
            return super().requests(query, variables)

        def count(*asked: re.Match[str]) -> int:
            return quota.requests(documents.schema(), parse(_asking(query, asked)), variables)

        none, times = count(), Counter(line[3] for line in lines)
        return none + sum(times[line[3]] * (count(line) - none) for line in _one_of_each(lines))

    def _forget_what_moved(self) -> None:
        heard, self._told = self.world.heard[self._told :], len(self.world.heard)
        moved = {number for event, _, about in heard for number in self._meant(event, about)}
        for known in self.rendered.values() if moved else ():
            for key in [key for key in known if key[0] in moved]:
                del known[key]

    def _meant(self, event: str, about: int) -> Iterable[int]:
        if event != "check_run":
            return [about]
        sha = self.world.checks[about].sha
        return [pull.number for pull in self.world.pulls.values() if pull.head_sha == sha]


def _one_of_each(lines: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """A line for each thing that is asked."""
    return list({line[3]: line for line in lines}.values())


def _asking(query: str, lines: Sequence[re.Match[str]]) -> str:
    """The same query for these pull requests alone."""
    bare = _PULL.sub("", query)
    place = query.index(_PULL.search(query)[0])  # type: ignore[index]  # it was found before
    return bare[:place] + "".join(line[0] for line in lines) + bare[place:]
