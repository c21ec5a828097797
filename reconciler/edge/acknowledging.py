"""Acknowledging: what was decided here is brought to other nodes until it counts, or for as long as somebody
waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from msgspec.structs import replace

from membership.roster import Timing
from membership.view import View
from reconciler.holding import (
    Brought,
    Spread,
    kept,
    not_everywhere,
    telling,
    to_be_told,
    waits_for,
)
from reconciler.sharing import lacking, others

EVERY_S = 0.5
QUIET_S = 1.0
"""What takes no longer is not worth a word."""

TELL_EVERY_S = 10.0
SPREAD_WITHIN_S = 8.0
"""So long the leader waits for enough voters to know what a person asked of it: less than another node waits
for its answer."""

WITHIN_S = 30.0
"""So long is waited for other nodes, beside what it takes until no unseen lease is left."""

Told = Callable[[str], Awaitable[None]]


class Standpoint(Protocol):
    """What this node sees, on its own clock."""

    @property
    def view(self) -> View: ...

    @property
    def led_since_s(self) -> float:
        """Since when the view has named this leader of this term, or nobody."""
        ...

    @property
    def acts_alone(self) -> bool:
        """Whether this node acts without its only possible successor, and the pool was told so."""
        ...

    def now_s(self) -> float: ...


class Reach(Protocol):
    """The way to other peers' ledgers."""

    @property
    def timing(self) -> Timing: ...

    async def holds(self, peer: str) -> bool:
        """Whether this peer has made all that our ledger says durable, as far as can be told now."""
        ...


async def spread(reach: Reach, here: Standpoint) -> tuple[frozenset[str], str]:
    """Bring our ledger to the other voters; those that have it by the time that enough do, and what is
    missing where that did not come about."""
    have: frozenset[str] = frozenset()
    asked: dict[str, asyncio.Task[bool]] = {}
    ends_s = here.now_s() + SPREAD_WITHIN_S
    try:
        while (lack := lacking(here.view, have)) and here.now_s() < ends_s:
            for name in sorted({*others(here.view)} - have - asked.keys()):
                asked[name] = asyncio.create_task(reach.holds(name))
            await _a_while(asked, here)
            done = {name for name, task in asked.items() if task.done()}
            have |= {name for name in done if asked.pop(name).result()}
    finally:
        for task in asked.values():
            task.cancel()
    return have, lack


async def _a_while(asked: Mapping[str, asyncio.Task[bool]], here: Standpoint) -> None:
    """Until one has it, or for `EVERY_S`: one that answers at once that it has not is not asked at once."""
    until_s = here.now_s() + EVERY_S
    if asked:
        await asyncio.wait(asked.values(), timeout=EVERY_S, return_when=asyncio.FIRST_COMPLETED)
    if not any(task.done() and task.result() for task in asked.values()):
        await asyncio.sleep(max(0.0, until_s - here.now_s()))


class Acknowledging:
    """The way of one hold, or of its end, that is durable on this node."""

    def __init__(self, reach: Reach, here: Standpoint) -> None:
        self._reach = reach
        self._here = here
        self._asked: dict[str, asyncio.Task[bool]] = {}
        self._spread = self._seen(frozenset({here.view.me}), None)

    async def counts(self, brought: Brought, told: Told) -> str:
        """ "" once it counts; or why it does not, when there was no more time. `told` hears what is
        waited for when that changes, and now and then."""
        begun_s = self._here.now_s()
        ends_s = begun_s + WITHIN_S + self._reach.timing.wait_s
        said, said_s = "", begun_s
        try:
            while waiting := waits_for(self._spread, self._reach.timing, self._here.now_s()):
                now_s = self._here.now_s()
                if now_s >= ends_s:
                    return not_everywhere(brought, self._spread, waiting)
                kind = waiting.partition(":")[0]
                news = kind != said and now_s - begun_s >= QUIET_S
                if news or now_s - said_s >= TELL_EVERY_S:
                    said, said_s = kind, now_s
                    ends = "" if kind != waiting else f" ({ends_s - now_s:.0f} s at most)"
                    await told(f"{waiting}{ends}")
                await self._look(brought)
        finally:
            for task in self._asked.values():
                task.cancel()
        return ""

    async def _look(self, brought: Brought) -> None:
        """Ask whoever is not known to have it; one that is silent holds up none that answers."""
        have = self._spread.have | telling(self._here.view, brought.noted)
        for name in to_be_told(self._here.view) - have - self._asked.keys():
            self._asked[name] = asyncio.create_task(self._reach.holds(name))
        await _a_while(self._asked, self._here)
        done = {name for name, task in self._asked.items() if task.done()}
        news = {name for name in done if self._asked.pop(name).result()}
        self._spread = self._seen(have | news, self._spread.kept_since_s)

    def _seen(self, have: frozenset[str], kept_since_s: float | None) -> Spread:
        seen = Spread(
            view=self._here.view,
            led_since_s=self._here.led_since_s,
            have=have,
            alone=self._here.acts_alone,
        )
        if not kept(seen):
            return seen
        since_s = self._here.now_s() if kept_since_s is None else kept_since_s
        return replace(seen, kept_since_s=since_s)
