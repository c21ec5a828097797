"""The hands: performs the effects of a step in their order.

What must be durable is durable before the next effect begins. What takes long becomes a task, whose
result comes back as an event. Nothing is decided here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from membership.ledger import Fact
from reconciler.actions import NOT_SHARED, Retry, Unsure
from reconciler.edge.mastering import Mastering
from reconciler.edge.outreach import Outreach
from reconciler.edge.switching import Switching
from reconciler.members import (
    AskMembers,
    MakeMaster,
    MasterMade,
    MemberEvent,
    SendCopies,
    TellMembers,
)
from reconciler.messages import (
    Announce,
    Announced,
    CallReturned,
    Effect,
    Event,
    Fetch,
    HandOver,
    Keep,
    Look,
    Muster,
    Perform,
    Refresh,
    Share,
    Write,
)
from reconciler.ports import Journal, Peers, Pool, SharedFacts, Source
from reconciler.power import LookAtPower, PowerOff, PowerOn, PowerSwitched
from reconciler.records import Record

MARGIN_S = 30.0
"""How much longer than its time-out a call may take to give up before it is given up for it."""

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Converge:
    """Performs effects. `post` takes the events that come of them; `spawn` starts a task whose failure
    ends the daemon. `permitted` says whether this node may begin anything at this very moment, and
    `lacking` what is missing for that where only these peers know what was said before it."""

    def __init__(
        self,
        pool: Pool,
        source: Source,
        journal: Journal,
        ledger: SharedFacts,
        outreach: Outreach,
        switching: Switching,
        mastering: Mastering,
        permitted: Callable[[], bool],
        lacking: Callable[[frozenset[str]], str],
        post: Callable[[Event], None],
        spawn: Spawn,
    ) -> None:
        self._pool = pool
        self._source = source
        self._journal = journal
        self._ledger = ledger
        self._peers: Peers = outreach.peers
        self._outreach = outreach
        self._permitted = permitted
        self._lacking = lacking
        self._switching = switching
        self._mastering = mastering
        self._sharing: set[asyncio.Task[tuple[str, ...]]] = set()
        self._last_shared: asyncio.Task[tuple[str, ...]] | None = None
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
                case Muster(roster=roster):
                    self._peers.muster(roster)
                case HandOver(to=to):
                    self._peers.hand_over(to)
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
            sharing = asyncio.create_task(self._peers.share(tuple(facts)))
            self._sharing.add(sharing)
            self._last_shared = sharing
            self._spawn(self._acknowledged(sharing))
            facts.clear()

    async def _acknowledged(self, sharing: asyncio.Task[tuple[str, ...]]) -> None:
        """One that breaks ends the daemon, and stays among those that no call goes ahead of."""
        await sharing
        self._sharing.discard(sharing)

    async def _begun(self, effect: Effect) -> None:
        match effect:
            case Perform():
                self._post(await self._performed(effect, await self._shared()))
            case LookAtPower():
                self._post(await self._switching.look(effect))
            case PowerOff() | PowerOn():
                self._post(await self._switched(effect, await self._shared()))
            case MakeMaster():
                self._post(await self._made_master(effect, await self._shared()))
            case AskMembers() | TellMembers() | SendCopies():
                self._post(await self._mastering.carried_out(effect))
            case Announce(term=term):
                names = await self._shared()
                self._post(Announced(term=term, names=tuple(sorted(names))))
            case Look(timeout_s=timeout_s):
                self._post(await self._source.look(timeout_s))
            case Fetch(head=head, since=since, timeout_s=timeout_s):
                self._post(await self._source.fetch(head, since, timeout_s))
            case _:
                answer = await self._outreach.carried_out(effect)
                if answer is not None:
                    self._post(answer)

    async def _shared(self) -> frozenset[str]:
        """Until the peers know all that was said before this effect; those of them that do: whoever has
        acknowledged the last of it knows what was said before, though it may have missed that at first."""
        last, before = self._last_shared, tuple(self._sharing)
        if last is None:
            return frozenset()
        if before:
            await asyncio.wait(before)
        for sharing in before:
            sharing.result()  # What broke has told nobody, and nothing may rest on it.
        return frozenset(last.result())

    async def _performed(self, effect: Perform, told: frozenset[str]) -> CallReturned:
        """The pool keeps the deadline itself; this one is for the day on which it does not."""
        lack = self._lacking(told)
        if lack:
            untold = Retry(reason=NOT_SHARED, message=f"facts are shared with {lack}")
            return CallReturned(txn=effect.txn, answer=untold)

        def permitted() -> bool:
            return self._permitted() and not self._lacking(told)

        try:
            async with asyncio.timeout(effect.timeout_s + MARGIN_S):
                answer = await self._pool.perform(
                    effect.txn, effect.call, effect.timeout_s, permitted
                )
        except TimeoutError:
            return CallReturned(
                txn=effect.txn,
                answer=Unsure(reason="NoAnswer", message="the call did not come back in time"),
            )
        return CallReturned(txn=effect.txn, answer=answer)

    async def _switched(self, effect: PowerOff | PowerOn, told: frozenset[str]) -> PowerSwitched:
        lack = self._lacking(told)
        if not lack and isinstance(effect, PowerOff):
            return await self._switching.off(effect)
        if not lack and isinstance(effect, PowerOn):
            return await self._switching.on(effect)
        messages = {use.device: f"facts are shared with {lack}" for use in effect.devices}
        return PowerSwitched(node=effect.node, round=effect.round, messages=messages)

    async def _made_master(self, effect: MakeMaster, told: frozenset[str]) -> MemberEvent:
        lack = self._lacking(told)
        if not lack:
            return await self._mastering.carried_out(effect)
        return MasterMade(promotion=effect.promotion, message=f"facts are shared with {lack}")
