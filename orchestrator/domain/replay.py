"""Another rule set over recorded facts: what it would have sent, asked and merged, in place of what was.

Each task is decided again at each of its recorded instants, and at those in between at which the other rules would have looked again. What
these rules said before is carried along in place of what was really said: messages, questions and memories are those of the replay. What
the agent and people did is not known for a course that was not taken: from the first difference on, the facts are those of the other one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from orchestrator.domain.actions import Action, Interrupt, Merge, RunCheck, SendToAgent, Settle, StopAgent, key_of
from orchestrator.domain.course import CAUSE, ROUNDS
from orchestrator.domain.durations import format_duration
from orchestrator.domain.lifecycle import Decision, decide
from orchestrator.domain.rules import Rule, Trigger
from orchestrator.domain.snapshot import InterruptionFacts, Memory, MessageFacts, PullFacts, Snapshot

WAKES = 100  # instants between two records at which it is decided
AT_ONCE = timedelta(seconds=1)  # what lies closer together is the same instant

RulesAt = Callable[[Snapshot], Mapping[Trigger, Rule]]


class Kind(StrEnum):
    """What a rule can bring about."""

    MESSAGE = "message"
    QUESTION = "question"
    ESCALATION = "escalation"
    MERGE = "merge"
    STOP = "stop"
    CHECK = "check"


# What changes what happens next. A question may as well, but only through what people do about it.
_TURNS_THE_COURSE = frozenset({Kind.MESSAGE, Kind.MERGE, Kind.STOP, Kind.CHECK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """Something that a rule brought about. `kind` and `name` are the same in both courses where it is the same work; `n` counts the messages of a
    cause."""

    at: datetime
    trigger: Trigger
    kind: Kind
    name: str
    n: int = 0

    def __str__(self) -> str:
        match self.kind:
            case Kind.MESSAGE:
                return f"message {self.n}"
            case Kind.QUESTION:
                return "a question"
            case Kind.ESCALATION:
                return "an escalation"
            case Kind.MERGE:
                return "a merge by itself"
            case Kind.STOP:
                return "a stop of the agent"
            case Kind.CHECK:
                return "another run of a check"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the other rules would have done otherwise, at one instant."""

    at: datetime
    trigger: Trigger
    was: Effect | None
    now: Effect | None

    def __str__(self) -> str:
        if self.was is None:
            return f"{self.now}"
        if self.now is None:
            return f"no {str(self.was).removeprefix('a ').removeprefix('an ')}"
        if (self.was.kind, self.was.name) != (self.now.kind, self.now.name):
            return f"{self.now} instead of {self.was}"
        span = self.was.at - self.now.at
        return f"{self.now} {format_duration(abs(span))} {'earlier' if span > timedelta() else 'later'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """Both courses of one task, and where they part."""

    was: tuple[Effect, ...]
    now: tuple[Effect, ...]
    differences: tuple[Difference, ...]

    @property
    def parts_at(self) -> datetime | None:
        """From here on the facts are those of the other course."""
        return next((one.at for one in self.differences if _turns(one.was) or _turns(one.now)), None)


def _turns(effect: Effect | None) -> bool:
    return effect is not None and effect.kind in _TURNS_THE_COURSE


def compare(records: Sequence[Snapshot], rules: RulesAt) -> Compared:
    """One task's recorded facts, oldest first, under the rules that held then and under `rules`."""
    was = course(records, lambda snapshot: snapshot.rules)
    merges = frozenset(effect.name for effect in was if effect.kind is Kind.MERGE)
    now = course(records, rules, merges=merges)
    return Compared(was=was, now=now, differences=tuple(_differences(was, now)))


def course(records: Sequence[Snapshot], rules: RulesAt, *, merges: frozenset[str] | None = None) -> tuple[Effect, ...]:
    """What these rules bring about on the recorded facts of one task. A merge by itself that is not among `merges`, those that were really
    begun, is the end: what was recorded after it belongs to another course."""
    if not records:
        return ()
    carried = _Carried.of(records[0])
    for place, snapshot in enumerate(records):
        following = records[place + 1] if place + 1 < len(records) else None
        carried.begin()
        for moment in _moments(snapshot, following, carried):
            new = _decide_at(moment, carried, rules)
            if merges is not None and any(one.kind is Kind.MERGE and one.name not in merges for one in new):
                return tuple(carried.effects)
    return tuple(carried.effects)


def _moments(snapshot: Snapshot, following: Snapshot | None, carried: _Carried) -> Iterator[Snapshot]:
    """The facts as they were recorded, then again at each instant before the next record at which somebody would have looked again."""
    yield snapshot
    if following is None or snapshot.task.outcome is not None:
        return
    quiet = _until(snapshot, following)
    for _ in range(WAKES):
        wake_at = carried.wake_at
        if wake_at is None or wake_at >= following.now:
            return
        yield replace(quiet, now=wake_at)


def _until(snapshot: Snapshot, following: Snapshot) -> Snapshot:
    """The facts between two records. An agent whose progress in between is not known is taken to have made some: no alarm is invented."""
    if snapshot.turn is None or following.session is None or snapshot.session is None:
        return snapshot
    later = following.turn
    same = following.session.id == snapshot.session.id and later is not None and later.n == snapshot.turn.n
    progress = later.last_progress_at if same and later is not None else following.now
    return replace(
        snapshot, turn=replace(snapshot.turn, last_progress_at=max(progress, snapshot.turn.last_progress_at))
    )


def _decide_at(snapshot: Snapshot, carried: _Carried, rules: RulesAt) -> list[Effect]:
    """Decide until nothing new follows; answers what was new."""
    found: list[Effect] = []
    for _ in range(ROUNDS):
        facts = carried.over(snapshot, rules(snapshot))
        new = carried.take(decide(facts), facts)
        found += new
        if not new:
            break
    return found


# --- What is carried along ----------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sent:
    """A message of the replay. Until the next record it waits; from then on it is where it was recorded, else with the turn after."""

    facts: MessageFacts
    carrier: int
    waits: bool = True


@dataclass(slots=True)
class _Carried:
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
    def of(cls, first: Snapshot) -> _Carried:
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
            self.asked = {cause: replace(one, open=False) for cause, one in self.asked.items()}
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
                if cause in self.asked:
                    return []
                self.asked[cause] = InterruptionFacts(cause=cause, open=True, escalation=action.escalation)
                kind = Kind.ESCALATION if action.escalation else Kind.QUESTION
                return [Effect(at=facts.now, trigger=trigger, kind=kind, name=cause)]
            case Settle(cause=cause):
                if cause in self.asked:
                    self.asked[cause] = replace(self.asked[cause], open=False)
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


# --- What differs -------------------------------------------------------------------------------------------------------------------------


def _differences(was: Sequence[Effect], now: Sequence[Effect]) -> list[Difference]:
    before, after = {(one.kind, one.name): one for one in was}, {(one.kind, one.name): one for one in now}
    found = [
        Difference(at=min(one.at, after[name].at), trigger=one.trigger, was=one, now=after[name])
        for name, one in before.items()
        if name in after and abs(after[name].at - one.at) > AT_ONCE
    ]
    gone = [one for name, one in before.items() if name not in after]
    for one in (one for name, one in after.items() if name not in before):
        instead = next((g for g in gone if g.trigger is one.trigger and abs(g.at - one.at) <= AT_ONCE), None)
        if instead is not None:
            gone.remove(instead)
        found.append(Difference(at=one.at, trigger=one.trigger, was=instead, now=one))
    found += [Difference(at=one.at, trigger=one.trigger, was=one, now=None) for one in gone]
    return sorted(found, key=lambda one: one.at)


def counted(effects: Sequence[Effect]) -> Counter[Kind]:
    """How much of what."""
    return Counter(one.kind for one in effects)
