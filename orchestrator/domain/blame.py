"""Whose a red build is: the agent's, the base branch's, many changes' at once, or nobody's, since it goes away when it is run again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from orchestrator.domain.actions import RerunChecks, RunBaseCheck, RunCheck
from orchestrator.domain.rules import Reply, Trigger
from orchestrator.domain.snapshot import (
    BaseFacts,
    CheckFacts,
    IncidentFacts,
    JobFacts,
    JobState,
    PullFacts,
    Snapshot,
    TaskFacts,
)

BASE_RUNS = 3  # how often a check is begun at one commit of the base before it counts as unknown there
_FAILED = frozenset({"failure", "timed_out", "action_required", "startup_failure"})
_GIVEN_UP = frozenset({JobState.REFUSED, JobState.QUARANTINED, JobState.DROPPED})

# A title that says that a task is about what fails: nobody else is to mend it.
_FAILS = r"(?:fail(?:s|ed|ing|ures?)?|broken|breaks|breakage|red|flak(?:y|es?)|green)"
_SUBJECT = r"(?:tests?|checks?|ci|builds?|pipelines?|lint(?:er)?|suite|main|master)"
_ABOUT = re.compile(rf"\b(?:{_FAILS}\b.{{0,60}}\b{_SUBJECT}|{_SUBJECT}\b.{{0,60}}\b{_FAILS})\b", re.IGNORECASE)
_MENDS = re.compile(r"\b(?:fix|repair|mend|pass|unbreak|restore)\w{0,3}\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """The failed checks of a head by whose they are. `waits`: what is waited for before the agent is told of any of them, in words; `asks`:
    what finds it out."""

    occasion: str  # these failures at this head
    own: tuple[CheckFacts, ...]
    inherited: tuple[CheckFacts, ...] = ()
    shared: tuple[CheckFacts, ...] = ()
    waits: str = ""
    asks: tuple[RunBaseCheck | RunCheck | RerunChecks, ...] = ()
    look_again_at: datetime | None = None


def blame(snapshot: Snapshot, pull: PullFacts, failed: tuple[CheckFacts, ...], *, occasion: str) -> Blame:
    """What a red build means. An agent is told of what is its own; where that is nothing, it is not told, and no try is counted."""
    inherited = tuple(check for check in failed if _inherited(check, snapshot, pull))
    shared = tuple(check for check in failed if check not in inherited and _waited_on(incident_of(check, pull)))
    own = tuple(check for check in failed if check not in inherited and check not in shared)
    if not own:
        waits = _waits_for(inherited, shared, pull)
        return Blame(occasion=occasion, own=(), inherited=inherited, shared=shared, waits=waits)
    # A flake is run again before the base is asked: it may fail there too, once, and would hold everybody up as if it were inherited.
    told = Blame(occasion=occasion, own=own, inherited=inherited, shared=shared)
    found = _rerun_first(told, snapshot, pull)
    asks = () if found.asks else tuple(_asked_of_base(own, snapshot, pull))
    if not asks:
        return found
    words = f"asks whether {pull.base_branch} fails there too: {_listed(ask.name for ask in asks)}"
    return replace(found, waits=words, asks=asks)


def word_of(check: CheckFacts, found: Blame) -> str | None:
    """Whose a check's failure is, in one word; None where it has not failed."""
    if check in found.inherited:
        return "inherited"
    if check in found.shared:
        return "shared"
    if check in found.own:
        return "flaky" if check.flaky else "own"
    return None


def marks(check: CheckFacts, found: Blame) -> str:
    """What people should know of a failure, in words after its name."""
    words = {"inherited": ", inherited", "shared": ", many fail there", "flaky": ", known to be flaky"}
    return words.get(word_of(check, found) or "", "")


# --- The base branch ----------------------------------------------------------------------------------------------------------------------


def about_it(task: TaskFacts, check: CheckFacts) -> bool:
    """Whether the task is about this failure: then it is this agent's to fix, although the base branch has it, too."""
    if _ABOUT.search(task.title) is not None:
        return True
    if _MENDS.search(task.title) is None:
        return False
    return re.search(rf"(?<!\w){re.escape(check.name)}(?!\w)", task.title, re.IGNORECASE) is not None


def _inherited(check: CheckFacts, snapshot: Snapshot, pull: PullFacts) -> bool:
    """The base as it is fails in the same way; while it is not known how it does now, what it did before counts."""
    if not any(one.name == check.name for one in pull.base):
        return False
    incident = incident_of(check, pull)
    if about_it(snapshot.task, check) or (incident is not None and incident.released):
        return False
    now = _at_base(check, pull)
    if now is not None and now.status == "completed" and now.conclusion != "cancelled":
        return _same(check, now, own=check.name in snapshot.policy.own_checks)
    if check.name in snapshot.policy.own_checks:
        return False  # it is asked
    before = _before(check, pull)
    return before is not None and _same(check, before, own=False)


def _same(check: CheckFacts, base: BaseFacts, *, own: bool) -> bool:
    """The same failure; where nothing is known of one of them, the same check. A check of our own that says nothing and was never green is
    no measure of a change: the change may be what makes it green."""
    if base.conclusion not in _FAILED:
        return False
    if check.fingerprint and base.fingerprint:
        return check.fingerprint == base.fingerprint
    return check.green_once or not own


def _at_base(check: CheckFacts, pull: PullFacts) -> BaseFacts | None:
    return next((one for one in pull.base if one.name == check.name and one.sha == pull.base_sha), None)


def _before(check: CheckFacts, pull: PullFacts) -> BaseFacts | None:
    earlier = [one for one in pull.base if one.name == check.name and one.sha != pull.base_sha]
    return earlier[-1] if earlier else None


def mended(check: CheckFacts, pull: PullFacts) -> BaseFacts | None:
    """The base had this failure and has it no more: a rebase may be all that is needed."""
    now, before = _at_base(check, pull), _before(check, pull)
    if now is None or before is None or now.conclusion not in {"success", "neutral", "skipped"}:
        return None
    return before if _same(check, before, own=False) else None


def _asked_of_base(own: Iterable[CheckFacts], snapshot: Snapshot, pull: PullFacts) -> Iterator[RunBaseCheck]:
    """The runs of the built-in forge's checks that have to be known before an agent is told. One that cannot be made is not waited for."""
    rule = snapshot.rules[Trigger.CI_FAILED]
    for check in own if rule.auto and Reply.SEND_TO_AGENT in rule.action else ():
        incident = incident_of(check, pull)
        released = incident is not None and incident.released
        if (
            check.name not in snapshot.policy.own_checks
            or not pull.base_sha
            or released
            or about_it(snapshot.task, check)
        ):
            continue
        now = _at_base(check, pull)
        if now is not None and now.status == "completed" and now.conclusion != "cancelled":
            continue
        over = now is not None and now.status == "completed"
        ask = RunBaseCheck(name=check.name, base_sha=pull.base_sha, n=now.n + over if now is not None else 1)
        job = snapshot.jobs.get(ask.key)
        if ask.n <= BASE_RUNS and not (job is not None and job.state in _GIVEN_UP):
            yield ask


# --- Incidents ----------------------------------------------------------------------------------------------------------------------------


def incident_of(check: CheckFacts, pull: PullFacts) -> IncidentFacts | None:
    """What is known of this failure beyond this pull request."""
    found = (one for one in pull.incidents if (one.check, one.fingerprint) == (check.name, check.fingerprint))
    return next(found, None)


def _waited_on(incident: IncidentFacts | None) -> bool:
    return incident is not None and not incident.released and not incident.on_base


def _waits_for(inherited: tuple[CheckFacts, ...], shared: tuple[CheckFacts, ...], pull: PullFacts) -> str:
    words: list[str] = []
    if inherited:
        number = next((f" (incident #{one.number})" for check in inherited if (one := incident_of(check, pull))), "")
        verb = "fails" if len(inherited) == 1 else "fail"
        words.append(f"waits for {pull.base_branch}: {_listed(one.name for one in inherited)} {verb} there too{number}")
    words += [
        f"waits on incident #{one.number}: {one.check} fails on {one.pulls} pull requests the same way"
        for check in shared
        if (one := incident_of(check, pull)) is not None
    ]
    return "; ".join(words)


def _listed(names: Iterable[str]) -> str:
    known = list(names)
    return ", ".join(known[:3]) + (f" and {len(known) - 3} more" if len(known) > 3 else "")


# --- Flakes -------------------------------------------------------------------------------------------------------------------------------


def _rerun_first(found: Blame, snapshot: Snapshot, pull: PullFacts) -> Blame:
    """Failures that are all known to go away are run again, once, before the agent is told."""
    if not all(check.flaky and check.reds <= 1 for check in found.own):
        return found
    again = reruns(found.own, snapshot, pull, occasion=found.occasion)
    stands = [_stands(snapshot.jobs.get(action.key), snapshot) for action in again]
    if not again or not all(one for one, _ in stands):
        return found
    return replace(
        found,
        waits=f"known to be flaky, run once more: {_listed(check.name for check in found.own)}",
        asks=tuple(again),
        look_again_at=min((until for _, until in stands if until is not None), default=None),
    )


def _stands(job: JobFacts | None, snapshot: Snapshot) -> tuple[bool, datetime | None]:
    """Whether a rerun can still bring news, and until when it is waited for."""
    if job is None:
        return True, None
    since = job.settled_at or job.promised_at
    until = since + snapshot.policy.patience if since is not None else None
    return job.state not in _GIVEN_UP and (until is None or snapshot.now < until), until


def can_be_rerun(action: RunCheck | RerunChecks, snapshot: Snapshot) -> bool:
    """It was not asked for yet, or may still bring news."""
    return _stands(snapshot.jobs.get(action.key), snapshot)[0]


def reruns(
    failed: Iterable[CheckFacts], snapshot: Snapshot, pull: PullFacts, *, occasion: str
) -> list[RunCheck | RerunChecks]:
    """One more run of each: ours are begun by us, the others by the forge that runs them."""
    known = list(failed)
    ours = [check for check in known if check.name in snapshot.policy.own_checks]
    theirs = tuple(check.id for check in known if check.name not in snapshot.policy.own_checks)
    actions: list[RunCheck | RerunChecks] = [
        RunCheck(name=check.name, head_sha=pull.head_sha, n=check.n + 1) for check in ours
    ]
    if theirs:
        actions.append(RerunChecks(head_sha=pull.head_sha, checks=theirs, occasion=occasion))
    return actions
