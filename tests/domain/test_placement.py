"""Who goes where: limits are exact, nobody is forgotten, and everybody who waits knows why."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.placement import HostRoom, ProjectRoom, Waiting, place

HOST = HostRoom(id=1, name="h1", capacity=2, live=0)
ROOM = {1: ProjectRoom(limit=9, live=0), 2: ProjectRoom(limit=9, live=0)}


def one(task: int, project: int = 1, priority: int = 0) -> Waiting:
    return Waiting(task=task, project=project, priority=priority, agent="command")


def order(waiting: list[Waiting], hosts: list[HostRoom], rooms: dict[int, ProjectRoom] = ROOM) -> list[int]:
    return [placement.task for placement in place(waiting, hosts, rooms).placements]


def why(waiting: Waiting, hosts: list[HostRoom], rooms: dict[int, ProjectRoom] = ROOM) -> str:
    return place([waiting], hosts, rooms).reasons[waiting.task]


def test_the_oldest_goes_first() -> None:
    assert order([one(1), one(2), one(3)], [HOST]) == [1, 2]


def test_a_higher_priority_goes_before_age() -> None:
    assert order([one(1), one(2, priority=5), one(3, priority=-1)], [HOST]) == [2, 1]


def test_of_equal_priority_the_project_with_the_fewest_sessions_goes_first() -> None:
    assert order([one(1), one(2), one(3, project=2)], [HOST]) == [1, 3]
    busy = {1: ProjectRoom(limit=9, live=4), 2: ProjectRoom(limit=9, live=0)}
    assert order([one(1), one(2, project=2), one(3, project=2)], [HOST], busy) == [2, 3]


def test_the_limit_of_a_project_is_exact() -> None:
    rooms = {1: ProjectRoom(limit=2, live=1)}
    placed = place([one(1), one(2)], [HOST], rooms)
    assert [p.task for p in placed.placements] == [1]
    assert placed.reasons == {2: "the project's limit of 2 sessions is reached"}


def test_one_that_cannot_go_does_not_hold_up_the_others() -> None:
    held = replace(one(1, priority=9), held_by="waits for app#7")
    placed = place([held, one(2)], [HOST], ROOM)
    assert [p.task for p in placed.placements] == [2]
    assert placed.reasons == {1: "waits for app#7"}


def test_the_least_loaded_host_is_chosen() -> None:
    placed = place([one(1)], [HOST, replace(HOST, id=2, capacity=5)], ROOM)
    assert placed.placements[0].host == 2


def test_a_host_that_lost_the_task_is_taken_only_when_no_other_has_room() -> None:
    again = replace(one(1), avoid=frozenset({1}))
    full = replace(HOST, id=2, live=2)
    assert place([again], [replace(HOST, capacity=9), replace(HOST, id=2)], ROOM).placements[0].host == 2
    assert place([again], [HOST, full], ROOM).placements[0].host == 1


def test_everybody_who_waits_knows_why() -> None:
    assert why(one(1), []) == "no host is known yet"
    assert why(one(1), [replace(HOST, draining=True)]) == "no host takes it: all are draining"
    assert why(one(1), [replace(HOST, reachable=False)]) == "no fitting host is reachable: h1"
    assert why(one(1), [replace(HOST, live=2)]) == "all hosts are full"
    assert why(replace(one(1), labels=frozenset({"gpu"})), [HOST]) == "no host takes it: labels gpu"


def test_a_label_is_met_by_a_host_that_has_it() -> None:
    wants = replace(one(1), labels=frozenset({"gpu"}))
    assert place([wants], [HOST, replace(HOST, id=2, labels=frozenset({"gpu", "x"}))], ROOM).placements[0].host == 2


ROOMS = st.builds(ProjectRoom, limit=st.integers(0, 4), live=st.integers(0, 4))
HOSTS = st.lists(st.integers(0, 3), max_size=4).map(
    lambda sizes: [HostRoom(id=n, name=f"h{n}", capacity=size, live=0) for n, size in enumerate(sizes)]
)
TASKS = st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(-1, 1)), max_size=12).map(
    lambda rows: [one(n, project, priority) for n, (project, priority) in enumerate(rows)]
)


@given(waiting=TASKS, hosts=HOSTS, first=ROOMS, second=ROOMS)
def test_no_limit_is_ever_passed_and_everybody_is_placed_or_told(
    waiting: list[Waiting], hosts: list[HostRoom], first: ProjectRoom, second: ProjectRoom
) -> None:
    rooms = {1: first, 2: second}
    placed = place(waiting, hosts, rooms)
    of = {task.task: task.project for task in waiting}
    for host in hosts:
        assert sum(p.host == host.id for p in placed.placements) <= host.capacity
    for number, room in rooms.items():
        assert sum(of[p.task] == number for p in placed.placements) <= max(room.limit - room.live, 0)
    assert sorted([p.task for p in placed.placements] + list(placed.reasons)) == [task.task for task in waiting]
    assert placed == place(waiting, hosts, rooms)
