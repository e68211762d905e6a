"""What the flight recorder would have kept of simulated lives: the facts of each decision that changed something or had other reasons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.domain.actions import Interrupt, SendToAgent
from orchestrator.domain.course import new_in
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.recording import abridged, standing
from orchestrator.domain.snapshot import Snapshot
from tests.simulation.play import play
from tests.simulation.world import Parts


@dataclass
class History:
    """The records of one task, and what its rules brought about."""

    records: list[Snapshot] = field(default_factory=list)
    messages: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    standing: str = ""

    def see(self, snapshot: Snapshot, decision: Decision) -> None:
        new, name = new_in(snapshot, decision), standing(decision)
        if new or name != self.standing:
            self.standing = name
            self.records.append(abridged(snapshot))
        for action in new:
            match action:
                case SendToAgent() if action.key in decision.asked_by:
                    self.messages.add(f"{action.trigger}:{action.episode}:{action.occasion}")
                case Interrupt() if action.key in decision.asked_by:
                    self.asked.add(action.cause)


def histories(seed: int) -> Mapping[int, History]:
    """One seed, lived to its end."""
    kept: dict[int, History] = defaultdict(History)

    def recording(snapshot: Snapshot) -> Decision:
        decision = decide(snapshot)
        kept[snapshot.task.id].see(snapshot, decision)
        return decision

    play(seed, Parts(decide=recording))
    return kept
