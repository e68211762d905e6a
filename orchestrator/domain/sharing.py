"""How much of several texts is told where not all of it can be."""

from __future__ import annotations

from collections.abc import Sequence


def shared(sizes: Sequence[int], budget: int) -> list[int]:
    """How much each of them gets of a budget: all that it needs where that is little, and what is left in equal parts."""
    shares = [0] * len(sizes)
    left, waiting = budget, sorted(range(len(sizes)), key=sizes.__getitem__)
    for n, which in enumerate(waiting):
        shares[which] = min(sizes[which], left // (len(waiting) - n))
        left -= shares[which]
    return shares


def squeezed(text: str, cap: int) -> str:
    """At most `cap` bytes: the beginning, where the first failure is, and twice as much of the end, where what failed is summed up."""
    data = text.encode(errors="replace")
    if len(data) <= cap:
        return text
    mark = f"\n[{len(data) - cap} bytes left out]\n"
    room = cap - len(mark)
    if room < 60:
        return data[max(len(data) - cap, 0) :].decode(errors="ignore") if cap > 0 else ""
    return data[: room // 3].decode(errors="ignore") + mark + data[-(room - room // 3) :].decode(errors="ignore")
