"""Which waiting task goes to which host: priority, then fairness between projects, then age. Limits are exact."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An accepted task without a session. `held_by` names what gates it (a dependency, a paused project); empty: nothing."""

    task: int
    project: int
    priority: int
    agent: str
    labels: frozenset[str] = frozenset()  # labels that the host must have
    held_by: str = ""
    avoid: frozenset[int] = frozenset()  # hosts that lost it before
    state: str = ""  # of the issue that it was made of, as states are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRoom:
    """A host as placement sees it."""

    id: int
    name: str
    capacity: int
    live: int
    labels: frozenset[str] = frozenset()
    draining: bool = False
    reachable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectRoom:
    limit: int
    live: int
    by_state: Mapping[str, int] = field(default_factory=dict)  # limits for issues of a state; others have the project's
    live_states: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    task: int
    host: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Who goes where, and for everybody else why not, in a sentence."""

    placements: tuple[Placement, ...]
    reasons: Mapping[int, str]


def place(waiting: Sequence[Waiting], hosts: Sequence[HostRoom], projects: Mapping[int, ProjectRoom]) -> Placed:
    """Fill the hosts' free room. `waiting` is oldest first; of equal priority the project with the fewest live sessions goes first."""
    free = {host.id: host.capacity - host.live for host in hosts}
    live = Counter({project: room.live for project, room in projects.items()})
    states = Counter((project, state) for project, room in projects.items() for state in room.live_states)
    placements: list[Placement] = []
    reasons: dict[int, str] = {}
    left = list(waiting)
    while left:
        best = min(range(len(left)), key=lambda i: (-left[i].priority, live[left[i].project], i))
        one = left.pop(best)
        full = _full_state(one, states, projects)
        host, reason = (None, full) if full else _host_for(one, hosts, free, live, projects)
        if host is None:
            reasons[one.task] = reason
            continue
        free[host.id] -= 1
        live[one.project] += 1
        states[one.project, one.state] += 1
        placements.append(Placement(task=one.task, host=host.id))
    return Placed(placements=tuple(placements), reasons=reasons)


def _full_state(one: Waiting, states: Mapping[tuple[int, str], int], projects: Mapping[int, ProjectRoom]) -> str:
    most = projects[one.project].by_state.get(one.state)
    if most is None or states[one.project, one.state] < most:
        return ""
    return f"no available orchestrator slots: the limit of {most} for issues that are {one.state} is reached"


def _host_for(
    one: Waiting,
    hosts: Sequence[HostRoom],
    free: Mapping[int, int],
    live: Mapping[int, int],
    projects: Mapping[int, ProjectRoom],
) -> tuple[HostRoom | None, str]:
    if one.held_by:
        return None, one.held_by
    room = projects[one.project]
    if live[one.project] >= room.limit:
        return None, f"the project's limit of {room.limit} sessions is reached"
    if not hosts:
        return None, "no host is known yet"
    fitting = [host for host in hosts if one.labels <= host.labels and not host.draining]
    if not fitting:
        return (
            None,
            f"no host takes it{': labels ' + ', '.join(sorted(one.labels)) if one.labels else ': all are draining'}",
        )
    reachable = [host for host in fitting if host.reachable]
    if not reachable:
        return None, f"no fitting host is reachable: {', '.join(host.name for host in fitting)}"
    roomy = [host for host in reachable if free[host.id] > 0]
    if not roomy:
        return None, "all hosts are full"
    # The least loaded first; one that lost this task before only when nobody else has room.
    return max(roomy, key=lambda host: (host.id not in one.avoid, free[host.id], -host.id)), ""
