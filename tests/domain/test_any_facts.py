"""Whatever the facts are: a decision is made, the same one each time, and asking again adds nothing."""

from dataclasses import replace
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.lifecycle import decide
from orchestrator.domain.rules import DEFAULTS, Reply, Trigger
from orchestrator.domain.snapshot import (
    InterruptionFacts,
    JobFacts,
    JobState,
    Memory,
    Policy,
    PullFacts,
    RequestFacts,
    SessionFacts,
    Snapshot,
    TaskFacts,
    TurnEnd,
    TurnFacts,
)  # fmt: skip
from orchestrator.domain.status import Outcome
from tests.domain.facts import (
    HEAD,
    LIVE_TURN,
    NOW,
    PULL,
    SESSION,
    TASK,
    Story,
    check,
    comment,
    message,
    review,
    snapshot,
)

MOMENTS = st.integers(-7200, 7200).map(lambda seconds: NOW + timedelta(seconds=seconds))
SHAS = st.sampled_from([HEAD, "c" * 40])
REQUESTS = st.none() | st.builds(RequestFacts, id=st.just("q"), kind=st.just("question"), question=st.text(max_size=5), asked_at=MOMENTS,
                                 answered=st.booleans())  # fmt: skip


@st.composite
def tasks(draw: st.DrawFn) -> TaskFacts:
    outcome = draw(st.none() | st.sampled_from(list(Outcome)))
    return replace(
        TASK,
        attempt=draw(st.integers(0, 2)),
        outcome=outcome,
        ended_at=draw(MOMENTS) if outcome is not None else None,
        cancel_requested_at=draw(st.none() | MOMENTS),
        merge_requested=draw(st.sampled_from(["", HEAD])),
        paused=draw(st.booleans()),
    )


@st.composite
def sessions(draw: st.DrawFn) -> SessionFacts:
    return replace(
        SESSION,
        prepared=draw(st.booleans()),
        ended=draw(st.booleans()),
        published_sha=draw(st.none() | SHAS),
        commits=draw(st.integers(0, 2)),
        host_silent_since=draw(st.none() | MOMENTS),
    )


@st.composite
def turns(draw: st.DrawFn) -> TurnFacts:
    return replace(
        LIVE_TURN,
        n=draw(st.integers(1, 4)),
        started=draw(st.booleans()),
        end=draw(st.none() | st.sampled_from(list(TurnEnd))),
        last_progress_at=draw(MOMENTS),
        published=draw(st.booleans()),
        produced=draw(st.booleans()),
        resumes=draw(st.integers(0, 4)),
        request=draw(REQUESTS),
    )


@st.composite
def pulls(draw: st.DrawFn) -> PullFacts:
    conclusions = st.sampled_from(["success", "failure", None])
    decisions = st.sampled_from(["approve", "request_changes", "comment", "dismissed"])
    return replace(
        PULL,
        state=draw(st.sampled_from(["open", "open", "open", "merged", "closed"])),
        head_sha=draw(SHAS),
        head_since=draw(MOMENTS),
        mergeable=draw(st.none() | st.booleans()),
        required_checks=draw(st.sampled_from([None, (), ("test",)])),
        checks=tuple(
            check(c, number=n, name=f"test{n or ''}") for n, c in enumerate(draw(st.lists(conclusions, max_size=2)))
        ),
        reviews=tuple(
            review(
                d, number=n, author=draw(st.sampled_from("ab")), trusted=draw(st.booleans()), told=draw(st.booleans())
            )
            for n, d in enumerate(draw(st.lists(decisions, max_size=3)))
        ),
        comments=tuple(
            comment(number=n, told=told, bot=draw(st.booleans()))
            for n, told in enumerate(draw(st.lists(st.booleans(), max_size=2)))
        ),
    )


def memories(trigger: Trigger) -> st.SearchStrategy[Memory]:
    return st.builds(Memory, trigger=st.just(trigger), episode=st.integers(1, 3), held=st.booleans(), since=st.none() | MOMENTS,
                     deadline_at=st.none() | MOMENTS, escalated=st.booleans(), attempt=st.integers(0, 2))  # fmt: skip


MESSAGES = st.lists(
    st.builds(
        message,
        st.none() | st.sampled_from(list(Trigger)),
        st.sampled_from(["turn-1.1", "x", "y"]),
        episode=st.integers(0, 3),
        turn=st.none() | st.integers(0, 3),
    ),
    max_size=4,
    unique_by=lambda m: m.id,
)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    session = draw(st.none() | sessions())
    rules = dict(DEFAULTS)
    for trigger in draw(st.lists(st.sampled_from(list(Trigger)), max_size=3)):
        actions = tuple(draw(st.lists(st.sampled_from(list(Reply)), min_size=1, max_size=2)))
        rules[trigger] = replace(
            rules[trigger], action=actions, auto=draw(st.booleans()), retries=draw(st.none() | st.integers(0, 2))
        )
    jobs = {
        key: JobFacts(
            key=key, state=draw(st.sampled_from(list(JobState))), code=draw(st.sampled_from(["", "conflict"]))
        )
        for key in draw(
            st.lists(
                st.sampled_from(["publish:5:1:0", f"open-pr:{HEAD}:0", "end:5", f"merge:{HEAD}:a.b.0"]), max_size=2
            )
        )
    }
    held = draw(st.lists(st.sampled_from(list(Trigger)), max_size=3))
    return snapshot(
        task=draw(tasks()),
        policy=Policy(
            own_checks=draw(st.sampled_from([(), ("test",)])),
            reassign_after=draw(st.sampled_from([None, timedelta(minutes=15)])),
        ),
        rules=rules,
        session=session,
        turn=draw(st.none() | turns()) if session is not None else None,
        pull=draw(st.none() | pulls()),
        messages=tuple(draw(MESSAGES)),
        jobs=jobs,
        memory={trigger: draw(memories(trigger)) for trigger in held},
        interruptions=tuple(
            InterruptionFacts(cause=f"{t}:turn-1.1", open=draw(st.booleans()), escalation=draw(st.booleans()))
            for t in dict.fromkeys(held)
        ),
    )


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_any_facts_are_decided_about_and_in_the_same_way(facts: Snapshot) -> None:
    first = decide(facts)
    assert first == decide(facts)
    assert first.reason
    assert first.wake_at is None or first.wake_at > facts.now


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_deciding_again_adds_nothing(facts: Snapshot) -> None:
    story = Story(facts)
    rounds = 0
    while story.record(decide(story.now)):
        rounds += 1
        assert rounds < 10, "each decision asks for something new"
    settled = story.now
    assert story.record(decide(settled)) == 0
    assert story.now == settled
