"""Webhooks: what the world hears is delivered, signed, by HTTP; lost, doubled, shuffled or late where a test wants that."""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.fakegithub.server import FakeGitHub


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One webhook, as it goes over the line."""

    event: str
    body: bytes
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def headers(self, secret: str) -> dict[str, str]:
        signature = hmac.new(secret.encode(), self.body, hashlib.sha256).hexdigest()
        return {
            "Content-Type": "application/json",
            "X-GitHub-Event": self.event,
            "X-GitHub-Delivery": self.id,
            "X-Hub-Signature-256": f"sha256={signature}",
            "User-Agent": "GitHub-Hookshot/fake",
        }


@dataclass(slots=True)
class Hooks:
    """The webhooks of a fake GitHub to one address."""

    github: FakeGitHub
    url: str
    secret: str
    told: int = 0

    def pending(self) -> list[Delivery]:
        """What has been heard since the last time."""
        with self.github.world.lock:
            heard = self.github.world.heard[self.told :]
            self.told += len(heard)
            return [Delivery(event=event, body=json.dumps(self._payload(*what)).encode()) for event, *what in heard]

    def deliver(self, deliveries: Sequence[Delivery]) -> list[int]:
        """Send them in this order; the statuses that were answered."""
        with httpx.Client(timeout=10) as client:
            return [
                client.post(self.url, content=one.body, headers=one.headers(self.secret)).status_code
                for one in deliveries
            ]

    def badly(self, deliveries: Sequence[Delivery], *, seed: int) -> list[Delivery]:
        """A third of them lost, a third doubled, all in another order."""
        dice = random.Random(seed)
        kept = [one for one in deliveries for _ in range(dice.choice((0, 1, 2)))]
        dice.shuffle(kept)
        return kept

    def _payload(self, action: str, number: int) -> dict[str, Any]:
        views, world = self.github.rest.views, self.github.world
        payload: dict[str, Any] = {"action": action, "repository": views.repository(), "sender": views.user("acme")}
        if number in world.pulls:
            payload |= {"number": number, "pull_request": views.pull(world.pulls[number])}
        elif number in world.checks:
            payload["check_run"] = views.check(world.checks[number])
        elif number in world.issues:
            payload["issue"] = views.issue(world.issues[number])
        else:
            payload["ref"] = action
        return payload
