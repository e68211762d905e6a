"""A host that can be made unreachable: whatever is asked of it goes to a real one, or nowhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

from orchestrator.ports import Host, Unavailable

EVERYTHING = "everything"


@dataclass(slots=True)
class FlakyHost:
    """The calls named in `down` fail as an unreachable host's do. `asked` counts every call that was made; `lost` names calls that are
    carried out and whose reply is then lost, once each. Of commands only `allowed` more are carried out, if that is said."""

    inner: Host
    down: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    asked: Counter[str] = field(default_factory=Counter)
    allowed: int | None = None

    @property
    def port(self) -> Host:
        return cast("Host", self)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        call = getattr(self.inner, name)

        def ask(*args: Any, **kwargs: Any) -> Any:
            self.asked[name] += 1
            if name == "command" and self.allowed is not None:
                self.allowed -= 1
            spent = name == "command" and self.allowed is not None and self.allowed < 0
            if self.down & {name, EVERYTHING} or spent:
                raise Unavailable("connection refused")
            answer = call(*args, **kwargs)
            if name in self.lost:
                self.lost.discard(name)
                raise Unavailable("the reply was lost")
            return answer

        return ask
