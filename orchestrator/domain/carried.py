"""What replayed rules have said so far, carried along in place of what was recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from orchestrator.domain.actions import Action, Interrupt, Merge, RunCheck, SendToAgent, Settle, StopAgent, key_of
from orchestrator.domain.course import CAUSE, settled
from orchestrator.domain.effects import Effect, Kind
from orchestrator.domain.lifecycle import Decision
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.snapshot import InterruptionFacts, Memory, MessageFacts, PullFacts, Snapshot


@dataclass(slots=True)
class _Sent:
    """A message of the replay. Until the next record it waits; from then on it is where it was recorded, else with the turn after."""

    facts: MessageFacts
    carrier: int
    waits: bool = True


@dataclass(slots=True)
class Carried:
    """What the replayed rules have said so far, in place of what was recorded."""

    memory: dict[Trigger, Memory]
    sent: dict[str, _Sent]
    told: set[tuple[str, int]]
    asked: dict[str, InterruptionFacts]
    attempt: int
    session: int
    done: set[str] = field(default_factory=set)
    effects: list[Effect] = field(default_factory=list)
    wake_at: datetime | None = None

    @classmethod
    def of(cls, first: Snapshot) -> Carried:
        """What was said before the first record."""
        turn = first.turn.n if first.turn is not None else 0
        told = {("r", one.id) for one in first.pull.reviews if one.told} if first.pull is not None else set()
        told |= {("c", one.id) for one in first.pull.comments if one.told} if first.pull is not None else set()
        return cls(
            memory=dict(first.memory),
            sent={_name(m): _Sent(facts=m, carrier=turn + 1) for m in first.messages if _by_rule(m)},
            told=told,
            asked={one.cause: one for one in first.interruptions if _of_rule(one.cause)},
            attempt=first.task.attempt,
            session=first.session.id if first.session is not None else 0,
        )

    def begin(self) -> None:
        """Another record: what was sent before it is under way."""
        for sent in self.sent.values():
            sent.waits = False

    def over(self, snapshot: Snapshot, rules: Mapping[Trigger, Rule]) -> Snapshot:
        """The recorded facts with what was carried along in place of what was said."""
        self._follow(snapshot)
        recorded = {_name(m): m for m in snapshot.messages if _by_rule(m)}
        others = tuple(m for m in snapshot.messages if not _by_rule(m))
        return replace(
            snapshot,
            rules=rules,
            memory=dict(self.memory),
            messages=(*others, *(self._message(name, sent, recorded) for name, sent in self.sent.items())),
            pull=self._pull(snapshot.pull) if snapshot.pull is not None else None,
            interruptions=self._interruptions(snapshot),
        )

    def _follow(self, snapshot: Snapshot) -> None:
        """A person's retry answers what is open; a new session was told all that came before it."""
        if snapshot.task.attempt > self.attempt:
            self.attempt = snapshot.task.attempt
            self.asked = {cause: replace(one, open=False, calls=False) for cause, one in self.asked.items()}
        session = snapshot.session.id if snapshot.session is not None else 0
        if session != self.session:
            self.session = session
            for sent in self.sent.values():
                sent.carrier = 0

    def _message(self, name: str, sent: _Sent, recorded: Mapping[str, MessageFacts]) -> MessageFacts:
        if name in recorded:
            return recorded[name]
        return sent.facts if sent.waits else replace(sent.facts, turn=sent.carrier, confirmed=True)

    def _pull(self, pull: PullFacts) -> PullFacts:
        return replace(
            pull,
            reviews=tuple(replace(one, told=("r", one.id) in self.told) for one in pull.reviews),
            comments=tuple(replace(one, told=("c", one.id) in self.told) for one in pull.comments),
        )

    def _interruptions(self, snapshot: Snapshot) -> tuple[InterruptionFacts, ...]:
        recorded = {one.cause: one for one in snapshot.interruptions}
        mine = (recorded.get(cause, one) for cause, one in self.asked.items())
        return (*(one for one in snapshot.interruptions if not _of_rule(one.cause)), *mine)

    def take(self, decision: Decision, facts: Snapshot) -> list[Effect]:
        """Carry on what was decided, and answer what of it is new."""
        self.memory |= {memory.trigger: memory for memory in decision.memory}
        self.wake_at = decision.wake_at
        new: list[Effect] = []
        for action in decision.actions:
            trigger = decision.asked_by.get(key_of(action))
            if trigger is not None:
                new += self._take(action, trigger, facts)
        self.effects += new
        return new

    def _take(self, action: Action, trigger: Trigger, facts: Snapshot) -> list[Effect]:
        match action:
            case SendToAgent():
                return self._send(action, trigger, facts)
            case Interrupt():
                cause = action.cause[:CAUSE]
                before = self.asked.get(cause)
                if before is not None and not before.gone:
                    return []
                self.asked[cause] = InterruptionFacts(cause=cause, open=True, escalation=action.escalation, calls=True)
                if before is not None:
                    return []  # the same call stands again
                kind = Kind.ESCALATION if action.escalation else Kind.QUESTION
                return [Effect(at=facts.now, trigger=trigger, kind=kind, name=cause)]
            case Settle(cause=cause):
                if cause in self.asked:
                    self.asked[cause] = settled(self.asked[cause])
                return []
            case Merge() | StopAgent() | RunCheck():
                if action.key in self.done:
                    return []
                self.done.add(action.key)
                kinds: dict[type[Action], Kind] = {Merge: Kind.MERGE, StopAgent: Kind.STOP, RunCheck: Kind.CHECK}
                return [Effect(at=facts.now, trigger=trigger, kind=kinds[type(action)], name=action.key)]
            case _:
                return []

    def _send(self, action: SendToAgent, trigger: Trigger, facts: Snapshot) -> list[Effect]:
        message = MessageFacts(
            id="",
            session=action.session,
            trigger=action.trigger,
            occasion=action.occasion,
            episode=action.episode,
            created_at=facts.now,
            turn=None,
            confirmed=False,
        )
        name = _name(message)
        if name in self.sent:
            return []
        before = sum(s.facts.trigger is trigger and s.facts.episode == action.episode for s in self.sent.values())
        self.sent[name] = _Sent(facts=message, carrier=(facts.turn.n if facts.turn is not None else 0) + 1)
        self.told |= {*(("r", row) for row in action.reviews), *(("c", row) for row in action.comments)}
        return [Effect(at=facts.now, trigger=trigger, kind=Kind.MESSAGE, name=name, n=before + 1)]


def _name(message: MessageFacts) -> str:
    """The same words for the same cause, whichever session carries them."""
    return f"{message.trigger}:{message.episode}:{message.occasion}"


def _by_rule(message: MessageFacts) -> bool:
    """Episodes begin at 1: what is sent outside of one (the task, an answer, a resume) is no rule's."""
    return message.trigger is not None and message.episode > 0 and not message.by_a_person


def _of_rule(cause: str) -> bool:
    return cause.partition(":")[0] in _TRIGGERS


_TRIGGERS = frozenset(str(trigger) for trigger in Trigger)
