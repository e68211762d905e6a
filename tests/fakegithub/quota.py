"""How much a token may ask, by GitHub's published rules: 5,000 REST calls and 5,000 points of queries an hour, and so much new content a minute.

https://docs.github.com/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api,
https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSchema,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
    get_named_type,
)

LIMIT = 5000
HOUR, MINUTE = 3600, 60
CONTENT_A_MINUTE, CONTENT_AN_HOUR = 80, 500


@dataclass(slots=True)
class Quota:
    """What was spent in this hour and what was refused. `calls` and `points` count everything that was ever answered or refused."""

    left: dict[str, int] = field(default_factory=lambda: {"core": LIMIT, "graphql": LIMIT})
    reset_at: dict[str, int] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    written: list[float] = field(default_factory=list)  # when something that makes content was asked for

    def resets_at(self, resource: str, *, now: float) -> int:
        """When the hour that runs ends; one that is over is begun anew with this call."""
        if self.reset_at.get(resource, 0) <= now:
            if resource in self.reset_at:
                self.left[resource] = LIMIT
            self.reset_at[resource] = int(now) + HOUR
        return self.reset_at[resource]

    def charge(self, resource: str, cost: int, *, now: float) -> bool:
        """Spend it; False: there is not so much left."""
        self.resets_at(resource, now=now)
        self.calls[resource] += 1
        if self.left[resource] < cost:
            self.left[resource], self.refused = 0, self.refused + 1
            return False
        self.left[resource] -= cost
        self.points[resource] += cost
        return True

    def give_back(self, resource: str) -> None:
        """An answer that says that nothing has changed is not counted."""
        self.left[resource] += 1
        self.points[resource] -= 1

    def too_much_content(self, *, now: float) -> bool:
        """Whether this is more new content than a minute or an hour may have."""
        self.written = [*(at for at in self.written if at > now - HOUR), now]
        minute = sum(at > now - MINUTE for at in self.written)
        over = minute > CONTENT_A_MINUTE or len(self.written) > CONTENT_AN_HOUR
        self.refused += over
        return over


def requests(schema: GraphQLSchema, document: DocumentNode, variables: Mapping[str, Any]) -> int:
    """How many requests the connections of a query stand for: each is asked for once for every node that its parents may give, where every
    connection is taken to give as many as its `first` or `last` asks for."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    operation = next(one for one in document.definitions if isinstance(one, OperationDefinitionNode))
    root = schema.get_root_type(operation.operation)
    return _Counter(schema, fragments, variables).of(operation.selection_set, root, times=1)


def points(asked: int) -> int:
    """A hundred requests are a point; the least is one."""
    return max(1, math.floor(asked / 100 + 0.5))


@dataclass(frozen=True, slots=True)
class _Counter:
    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]

    def of(self, selections: SelectionSetNode | None, kind: Any, *, times: int) -> int:
        return sum(self._one(one, kind, times) for one in (selections.selections if selections else ()))

    def _one(self, node: Any, kind: Any, times: int) -> int:
        match node:
            case FragmentSpreadNode():
                fragment = self.fragments[node.name.value]
                named = self.schema.get_type(fragment.type_condition.name.value)
                return self.of(fragment.selection_set, named, times=times)
            case InlineFragmentNode(type_condition=None):
                return self.of(node.selection_set, kind, times=times)
            case InlineFragmentNode():
                return self.of(node.selection_set, self.schema.get_type(node.type_condition.name.value), times=times)
            case FieldNode() if not node.name.value.startswith("__"):
                return self._field(node, get_named_type(kind.fields[node.name.value].type), times)
        return 0

    def _field(self, node: FieldNode, kind: Any, times: int) -> int:
        if not str(kind).endswith("Connection"):
            return self.of(node.selection_set, kind, times=times)
        return times + self.of(node.selection_set, kind, times=times * self._size(node))

    def _size(self, node: FieldNode) -> int:
        for argument in node.arguments:
            if argument.name.value in {"first", "last"}:
                match argument.value:
                    case IntValueNode(value=value):
                        return int(value)
                    case VariableNode(name=name):
                        return int(self.variables[name.value])
        return 1  # only counted, no node of it is given
