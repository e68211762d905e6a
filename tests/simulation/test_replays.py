"""Simulated lives, as the flight recorder kept them, are played again: with the rules that held nothing differs, and what is told of them
is exactly what happened."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping

import pytest

from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.recording import abridged
from orchestrator.domain.replay import Kind, compare, course
from orchestrator.domain.rules import Override, Rule, Trigger, laid_over
from orchestrator.domain.snapshot import Snapshot
from tests.simulation.histories import histories
from tests.simulation.play import play
from tests.simulation.world import Parts

SEEDS = int(os.environ.get("AO_REPLAY_SEEDS", "300"))


def as_they_were(snapshot: Snapshot) -> Mapping[Trigger, Rule]:
    return snapshot.rules


def one_try(snapshot: Snapshot) -> Mapping[Trigger, Rule]:
    override = Override(trigger=Trigger.CI_FAILED, retries=1)
    return {trigger: laid_over(rule, [override]) for trigger, rule in snapshot.rules.items()}


@pytest.mark.parametrize("part", range(3))
def test_a_replay_with_the_rules_that_held_tells_exactly_what_happened(part: int) -> None:
    for seed in range(part, SEEDS, 3):
        for history in histories(seed).values():
            effects = course(history.records, as_they_were)
            messages = {one.name for one in effects if one.kind is Kind.MESSAGE}
            asked = {one.name for one in effects if one.kind in {Kind.QUESTION, Kind.ESCALATION}}
            assert (messages, asked) == (history.messages, history.asked), f"seed {seed}"
            assert compare(history.records, as_they_were).differences == (), f"seed {seed}"


def test_other_rules_never_send_more_than_they_allow_nor_the_same_twice() -> None:
    for seed in range(SEEDS // 3):
        for history in histories(seed).values():
            compared = compare(history.records, one_try)
            names = Counter((one.kind, one.name) for one in compared.now)
            assert max(names.values(), default=1) == 1, f"seed {seed}"
            tries = Counter(
                one.name.rsplit(":", 1)[0] for one in compared.now if one.trigger is Trigger.CI_FAILED and one.n
            )
            assert max(tries.values(), default=1) == 1, f"seed {seed}: {tries}"
            others = [one for one in compared.differences if one.at < (compared.parts_at or one.at)]
            assert all(one.trigger is Trigger.CI_FAILED for one in others), f"seed {seed}"


def test_what_is_kept_is_enough_to_decide_the_same_again() -> None:
    """Long words and jobs that are done are left out of the record; no decision may depend on them."""

    def both(snapshot: Snapshot) -> Decision:
        whole, short = decide(snapshot), decide(abridged(snapshot))
        assert (short.status, short.reason, short.evidence, short.outcome) == (
            whole.status,
            whole.reason,
            whole.evidence,
            whole.outcome,
        )
        assert (short.memory, short.wake_at, short.why) == (whole.memory, whole.wake_at, whole.why)
        assert [action.key for action in short.actions] == [action.key for action in whole.actions]
        return whole

    for seed in range(SEEDS // 3):
        play(seed, Parts(decide=both))
