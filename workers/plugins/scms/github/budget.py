"""What GitHub allows a token, shared by all processes: reads stop before writes do, and everybody rests when GitHub says so.

It is kept in Redis. Losing it costs nothing that GitHub does not tell again with its next answer.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import redis
from redis.exceptions import RedisError

from orchestrator.ports import LimitReached, Unavailable

# Kept for writes out of the 5,000 an hour: observation that comes late harms less than a merge that does not happen.
RESERVE = 500
# GitHub's limit for what makes content is 80 a minute; there may be others who use the token. A server of one's own may have none.
WRITES_A_MINUTE = int(os.environ.get("AO_GITHUB_WRITES_A_MINUTE", "60"))


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of one token. `name` tells it from others and shows nothing of it; `store` answers in text."""

    store: redis.Redis
    name: str

    @classmethod
    def of(cls, token: str, *, api_url: str, store: redis.Redis) -> Budget:
        """The budget that everybody shares who uses this token there."""
        return cls(store, f"ao:github:{hashlib.sha256(f'{api_url} {token}'.encode()).hexdigest()[:24]}")

    def take(self, *, writes: bool, patient: bool = False, resource: str) -> None:
        """Account for one call of a `resource` (core, graphql); a `patient` one leaves the reserve to others. Raises `Unavailable` with the
        time to wait where it must not be made."""
        now = time.time()
        try:
            known = {str(key): float(value) for key, value in self.store.hgetall(self.name).items()}
            minute = f"{self.name}:writes:{int(now // 60)}"
            written = self.store.incr(minute) if writes else 0
            if writes:
                self.store.expire(minute, 120)
        except RedisError:
            return  # GitHub itself still counts
        if known.get("rest_until", 0) > now:
            raise _limit("GitHub asked for patience", known["rest_until"] - now)
        left, reset = known.get(f"{resource}.remaining", RESERVE + 1), known.get(f"{resource}.reset", 0)
        if left <= (RESERVE if patient else 0) and reset > now:
            raise _limit("GitHub's limit for this hour is used up", reset - now, writes_go_on=left > 0)
        if written > WRITES_A_MINUTE:
            raise _wait("enough was written to GitHub in this minute", 60 - now % 60)

    def learn(self, headers: Mapping[str, str]) -> None:
        """Remember what an answer says of the limit."""
        resource = headers.get("x-ratelimit-resource", "core")
        found = {
            f"{resource}.{name}": headers[header]
            for name, header in (("remaining", "x-ratelimit-remaining"), ("reset", "x-ratelimit-reset"))
            if headers.get(header, "").isdigit()
        }
        if found:
            self._keep(found)

    def rest(self, span: timedelta) -> None:
        """Nobody calls for so long."""
        self._keep({"rest_until": str(time.time() + span.total_seconds())})

    def _keep(self, found: Mapping[str, str]) -> None:
        mapping: dict[Any, Any] = dict(found)
        try:
            self.store.hset(self.name, mapping=mapping)
            self.store.expire(self.name, 4000)
        except RedisError:
            return


def _limit(why: str, seconds: float, *, writes_go_on: bool = False) -> LimitReached:
    span = _span(seconds)
    return LimitReached(_words(why, span), retry_after=span, writes_go_on=writes_go_on)


def _wait(why: str, seconds: float) -> Unavailable:
    span = _span(seconds)
    return Unavailable(_words(why, span), retry_after=span)


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=max(1, math.ceil(seconds)))


def _words(why: str, span: timedelta) -> str:
    return f"{why}: calls go on in {span.total_seconds():.0f} s"
