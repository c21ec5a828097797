"""The hands: performs the effects of a step in their order.

What must be durable is durable before the next effect begins. What takes long becomes a task, whose
result comes back as an event. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from membership.ledger import Fact
from reconciler.actions import Unsure
from reconciler.messages import (
    CallReturned,
    Effect,
    Event,
    Fetch,
    Keep,
    Look,
    Perform,
    Refresh,
    Share,
    Write,
)
from reconciler.ports import Journal, Pool, SharedFacts, Source
from reconciler.records import Record

MARGIN_S = 30.0
"""How much longer than its time-out a call may take to give up before it is given up for it."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Converge:
    """Performs effects. `post` takes the events that come of them; `spawn` starts a task whose failure
    ends the daemon."""

    def __init__(
        self,
        pool: Pool,
        source: Source,
        journal: Journal,
        ledger: SharedFacts,
        post: Callable[[Event], None],
        spawn: Spawn,
    ) -> None:
        self._pool = pool
        self._source = source
        self._journal = journal
        self._ledger = ledger
        self._post = post
        self._spawn = spawn

    def carry_out(self, effects: Sequence[Effect]) -> None:
        """All effects of one step. Returns when what has to be durable is, and the rest has begun.

        Records with no other effect between them share one fsync, facts likewise. Raises OSError
        where the disk fails: the effects after that one have not begun.
        """
        records: list[Record] = []
        facts: list[Fact] = []
        for effect in effects:
            if not isinstance(effect, Write):
                self._write(records)
            if not isinstance(effect, Share):
                self._share(facts)
            match effect:
                case Write(record=record):
                    records.append(record)
                case Share(fact=fact):
                    facts.append(fact)
                case Keep(revision=revision, digest=digest):
                    self._source.keep(revision, digest)
                case Refresh():
                    self._pool.refresh()
                case _:
                    self._spawn(self._begun(effect))
        self._write(records)
        self._share(facts)

    def _write(self, records: list[Record]) -> None:
        if records:
            self._journal.append(tuple(records))
            records.clear()

    def _share(self, facts: list[Fact]) -> None:
        if facts:
            self._ledger.append(tuple(facts))
            facts.clear()

    async def _begun(self, effect: Perform | Look | Fetch) -> None:
        match effect:
            case Perform():
                self._post(await self._performed(effect))
            case Look(timeout_s=timeout_s):
                self._post(await self._source.look(timeout_s))
            case Fetch(head=head, since=since, timeout_s=timeout_s):
                self._post(await self._source.fetch(head, since, timeout_s))

    async def _performed(self, effect: Perform) -> CallReturned:
        """The pool keeps the deadline itself; this one is for the day on which it does not."""
        try:
            async with asyncio.timeout(effect.timeout_s + MARGIN_S):
                answer = await self._pool.perform(effect.txn, effect.call, effect.timeout_s)
        except TimeoutError:
            return CallReturned(
                txn=effect.txn,
                answer=Unsure(reason="NoAnswer", message="the call did not come back in time"),
            )
        return CallReturned(txn=effect.txn, answer=answer)
