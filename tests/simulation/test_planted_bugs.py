"""The simulator can fail: each rule here is wrong on purpose, is handed in as a parameter, and is found."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.domain.actions import Action, Interrupt, Merge, SendToAgent, key_of
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.rules import Trigger
from orchestrator.domain.snapshot import JobFacts, JobState, Memory, Snapshot
from orchestrator.domain.triggers import Hold, held_triggers
from tests.simulation.outside import Forge, Host, Pull, Run
from tests.simulation.play import Failed, play
from tests.simulation.rows import JobRow
from tests.simulation.world import Parts


def a_pending_build_clears_the_memory(snapshot: Snapshot) -> Decision:
    pending = any(one.trigger is Trigger.CI_FAILED and one.hold is Hold.OPEN for one in held_triggers(snapshot))
    before = snapshot.memory.get(Trigger.CI_FAILED)
    if not pending or before is None or snapshot.task.outcome is not None:
        return decide(snapshot)
    cleared = replace(before, held=False, escalated=False)
    decision = decide(replace(snapshot, memory={**snapshot.memory, Trigger.CI_FAILED: cleared}))
    return replace(decision, memory=(*decision.memory, cleared))


def tries_are_counted_at_the_head_alone(snapshot: Snapshot) -> Decision:
    head = snapshot.pull.head_sha[:16] if snapshot.pull is not None else ""
    kept = tuple(
        m
        for m in snapshot.messages
        if m.trigger is not Trigger.CI_FAILED or m.occasion.startswith(head) or m.turn is None
    )
    return decide(replace(snapshot, messages=kept))


def tries_are_forgotten_with_the_memory(snapshot: Snapshot) -> Decision:
    if Trigger.CI_FAILED in snapshot.memory:
        return decide(snapshot)
    latest = max((m.episode for m in snapshot.messages if m.trigger is Trigger.CI_FAILED), default=0)
    blank = Memory(trigger=Trigger.CI_FAILED, episode=latest, held=False)
    return decide(replace(snapshot, memory={**snapshot.memory, Trigger.CI_FAILED: blank}))


def an_approval_counts_at_any_head(snapshot: Snapshot) -> Decision:
    if snapshot.pull is None:
        return decide(snapshot)
    reviews = tuple(replace(review, head_sha=snapshot.pull.head_sha) for review in snapshot.pull.reviews)
    return decide(replace(snapshot, pull=replace(snapshot.pull, reviews=reviews)))


def anybody_may_approve(snapshot: Snapshot) -> Decision:
    if snapshot.pull is None:
        return decide(snapshot)
    reviews = tuple(replace(review, trusted=True) for review in snapshot.pull.reviews)
    return decide(replace(snapshot, pull=replace(snapshot.pull, reviews=reviews)))


def a_silent_host_is_given_up_early(snapshot: Snapshot) -> Decision:
    return decide(replace(snapshot, policy=replace(snapshot.policy, reassign_after=timedelta(minutes=2))))


def nobody_is_called(snapshot: Snapshot) -> Decision:
    decision = decide(snapshot)
    calls = tuple(
        a for a in decision.actions if not (isinstance(a, Interrupt) and a.escalation and a.trigger is not None)
    )
    return replace(decision, actions=calls)


def nobody_wakes_up(snapshot: Snapshot) -> Decision:
    return replace(decide(snapshot), wake_at=None)


def a_session_is_left_behind(snapshot: Snapshot) -> Decision:
    decision = decide(snapshot)
    return replace(decision, actions=()) if decision.outcome is not None else decision


def nobody_knows_the_base(snapshot: Snapshot) -> Decision:
    if snapshot.pull is None:
        return decide(snapshot)
    given_up = {
        f"base-check:{snapshot.pull.base_sha}:1:{check.name}": JobFacts(key="", state=JobState.REFUSED)
        for check in snapshot.pull.checks
    }
    pull = replace(snapshot.pull, base=())
    return decide(replace(snapshot, pull=pull, jobs={**snapshot.jobs, **given_up}))


def no_flake_is_known(snapshot: Snapshot) -> Decision:
    if snapshot.pull is None:
        return decide(snapshot)
    checks = tuple(replace(check, flaky=False) for check in snapshot.pull.checks)
    return decide(replace(snapshot, pull=replace(snapshot.pull, checks=checks)))


def an_occasion_does_not_count(action: Action) -> str:
    if isinstance(action, SendToAgent) and action.trigger is Trigger.CI_FAILED:
        return f"send:{action.session}:{action.trigger}"
    return key_of(action)


def every_merge_is_the_same(action: Action) -> str:
    return "merge:once" if isinstance(action, Merge) else key_of(action)


def no_look_before_the_act(forge: Forge, branch: str) -> Pull | None:
    return None


def no_second_look(snapshot: Snapshot) -> bool:
    return True


def no_fence(host: Host, run: Run) -> None:
    """A host that forgets what it has ended, and makes a workspace for whoever comes."""
    host.workspaces.setdefault(run.session, ("", 0))


def no_lease(job: JobRow, now: float) -> bool:
    return job.state in {JobState.PROMISED, JobState.CLAIMED}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "promise", "within"),
    [
        pytest.param(
            Parts(decide=a_pending_build_clears_the_memory), "I5", 400, id="a pending build clears the memory"
        ),
        pytest.param(
            Parts(decide=tries_are_counted_at_the_head_alone), "I5", 400, id="tries are counted at the head alone"
        ),
        pytest.param(
            Parts(decide=tries_are_forgotten_with_the_memory), "I5", 1500, id="tries are forgotten with the memory"
        ),
        pytest.param(
            Parts(decide=an_approval_counts_at_any_head, still_ready=no_second_look),
            "I7",
            400,
            id="an approval counts at any head",
        ),
        pytest.param(
            Parts(decide=anybody_may_approve, still_ready=no_second_look), "I7", 400, id="anybody may approve"
        ),
        pytest.param(Parts(decide=a_silent_host_is_given_up_early), "I3", 400, id="a silent host is given up early"),
        pytest.param(Parts(decide=nobody_is_called), "I", 400, id="nobody is called"),
        pytest.param(Parts(decide=nobody_knows_the_base), "I11", 400, id="nobody knows the base"),
        pytest.param(Parts(decide=no_flake_is_known), "I11", 1500, id="no flake is known"),
        pytest.param(Parts(decide=nobody_wakes_up), "I", 400, id="nobody wakes up"),
        pytest.param(Parts(decide=a_session_is_left_behind), "I9", 400, id="a session is left behind"),
        pytest.param(Parts(key_of=an_occasion_does_not_count), "I1", 400, id="an occasion does not count"),
        pytest.param(Parts(key_of=every_merge_is_the_same), "I10", 400, id="every merge is the same"),
        pytest.param(Parts(still_ready=no_second_look), "I7", 400, id="no second look before a merge"),
        pytest.param(Parts(find_pull=no_look_before_the_act), "I2", 400, id="no look before the act"),
        pytest.param(Parts(admit=no_fence), "I", 2000, id="no fence"),
        pytest.param(Parts(free_to_claim=no_lease), "lease", 50, id="no lease"),
    ],
)
def test_a_planted_bug_is_found_within_its_seeds(parts: Parts, promise: str, within: int) -> None:
    found = first_failure(lambda seed: play(seed, parts), within)
    assert found is not None, f"not found within {within} seeds"
    assert found.why.startswith(promise), str(found)
    assert f"python -m tests.simulation --seed {found.seed}" in str(found)


def first_failure(run: Callable[[int], object], seeds: int) -> Failed | None:
    for seed in range(seeds):
        try:
            run(seed)
        except Failed as failed:
            return failed
    return None
