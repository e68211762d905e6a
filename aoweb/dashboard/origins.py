"""Refuses sockets that another site's page opens with our visitor's cookie."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class SameOrigin:
    """Lets a socket through whose Origin is one of ours, scheme, host and port; none at all is refused too: browsers send one."""

    def __init__(self, inner: Application, *, allowed: Collection[str]) -> None:
        self.inner = inner
        self.allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._ours(scope):
            await self.inner(scope, receive, send)
        else:
            # Before the handshake is accepted a close is answered with 403.
            await send({"type": "websocket.close", "code": 4003})

    def _ours(self, scope: Scope) -> bool:
        origins = [value for name, value in scope.get("headers", []) if name.lower() == b"origin"]
        return len(origins) == 1 and origins[0].decode("latin-1").lower() in self.allowed
