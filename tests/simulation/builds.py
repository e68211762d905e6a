"""What is known of failures beyond one pull request: the base's checks, flakes, incidents; in memory, as the services keep it in rows."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

from orchestrator.domain.blame import incident_of
from orchestrator.domain.snapshot import (
    AttemptFacts,
    BaseFacts,
    CheckFacts,
    FailureFacts,
    IncidentFacts,
    PullFacts,
    Snapshot,
)
from orchestrator.domain.triggers import blame_of

MANY = 3
FAILURES = ("", "f1", "f1", "f2", "f3")


@dataclass(slots=True)
class Builds:
    """One project's. Rows of the base are by its commit and the check's name."""

    chance: random.Random
    base: dict[tuple[str, str], BaseFacts] = field(default_factory=dict)
    flakes: set[tuple[str, str]] = field(default_factory=set)
    reds: dict[tuple[str, str], list[str]] = field(default_factory=dict)  # head, check -> its failures there
    heads: dict[str, dict[str, str]] = field(default_factory=dict)  # head -> check -> its last failure
    incidents: dict[tuple[str, str], IncidentFacts] = field(default_factory=dict)
    opened: int = 0

    def ended(self, head: str, check: CheckFacts) -> CheckFacts:
        """A run is over: its failure, and whether that went away."""
        if check.conclusion == "success":
            self.flakes |= {(check.name, failure) for failure in self.reds.get((head, check.name), ())}
            self.heads.get(head, {}).pop(check.name, None)
            return check
        failure = self.chance.choice(FAILURES)
        self.reds.setdefault((head, check.name), []).append(failure)
        self.heads.setdefault(head, {})[check.name] = failure
        return replace(check, fingerprint=failure)

    # --- the base ---

    def ask(self, sha: str, name: str, n: int) -> None:
        known = self.base.get((sha, name))
        if known is None or known.n < n:
            self.base[sha, name] = BaseFacts(name=name, sha=sha, n=n, status="queued", conclusion=None)

    def answer(self, sha: str, name: str) -> None:
        conclusion = self.chance.choice(("success", "success", "failure", "cancelled"))
        failure = self.chance.choice(FAILURES) if conclusion == "failure" else ""
        known = self.base[sha, name]
        self.base[sha, name] = replace(known, status="completed", conclusion=conclusion, fingerprint=failure)
        if conclusion == "success":
            self.incidents = {key: one for key, one in self.incidents.items() if key[0] != name}

    def asked(self) -> list[tuple[str, str]]:
        return [key for key, one in self.base.items() if one.status != "completed"]

    # --- facts ---

    def known(self, pull: PullFacts) -> PullFacts:
        """The pull request with everything that is known of its failures now."""
        failed = {check.name for check in pull.checks if check.conclusion == "failure"}
        return replace(
            pull,
            checks=tuple(self._with(pull.head_sha, check) for check in pull.checks),
            base=tuple(one for one in self.base.values() if one.name in failed),
            incidents=tuple(one for one in self.incidents.values() if one.check in failed),
            attempts=tuple(
                AttemptFacts(
                    head_sha=head,
                    failures=tuple(FailureFacts(name=n, fingerprint=f, headline="") for n, f in found.items()),
                )
                for head, found in self.heads.items()
            ),
        )

    def _with(self, head: str, check: CheckFacts) -> CheckFacts:
        if check.conclusion != "failure":
            return check
        known = (check.name, check.fingerprint) in self.flakes
        return replace(check, reds=max(len(self.reds.get((head, check.name), ())), 1), flaky=known)

    # --- incidents ---

    def notice(self, snapshot: Snapshot, others: list[PullFacts]) -> bool:
        """Open what this task shows to be wrong with more than itself, and end what it shows to be over."""
        pull = snapshot.pull
        if pull is None or pull.state != "open":
            return False
        green = {check.name for check in pull.checks if check.conclusion == "success"}
        before = dict(self.incidents)
        self.incidents = {key: one for key, one in before.items() if one.on_base or one.check not in green}
        found = blame_of(snapshot)
        for check in found.inherited if found is not None else ():
            self._open(check, pulls=1, on_base=True)
        for check in found.own if found is not None else ():
            alike = sum(_alike(other, check) for other in others)
            if check.fingerprint and alike >= MANY and incident_of(check, pull) is None:
                self._open(check, pulls=alike, on_base=False)
        return self.incidents != before

    def _open(self, check: CheckFacts, *, pulls: int, on_base: bool) -> None:
        key = (check.name, check.fingerprint)
        if key not in self.incidents:
            self.opened += 1
            self.incidents[key] = IncidentFacts(
                number=self.opened, check=check.name, fingerprint=check.fingerprint, pulls=pulls, on_base=on_base
            )


def _alike(pull: PullFacts, check: CheckFacts) -> bool:
    return any(
        (one.name, one.fingerprint, one.conclusion) == (check.name, check.fingerprint, "failure") for one in pull.checks
    )
