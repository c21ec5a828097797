"""Reaching out: effects that go to other peers, to the pool as a leader, and to people."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from reconciler.messages import (
    ClaimTerm,
    CloseSession,
    Effect,
    Event,
    Gather,
    Gathered,
    GuestProbed,
    OpenSession,
    PageTold,
    Probe,
    Probed,
    ProbeGuest,
    RevokeSession,
    SessionOpened,
    SessionRevoked,
    Stage,
    Staged,
    Tell,
)
from reconciler.paging import Page
from reconciler.ports import Guests, Peers, Pool, Source, Telling

TELL_S = 10.0

_log = logging.getLogger("cxm.outreach")


class Outreach:
    """Carries such an effect out; what comes of it is an event. Nothing here raises for what others do.

    `now_s` is the daemon's monotonic clock.
    """

    def __init__(
        self,
        peers: Peers,
        pool: Pool,
        source: Source,
        telling: Telling,
        guests: Guests,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.peers = peers
        self._pool = pool
        self._source = source
        self._telling = telling
        self._guests = guests
        self._now_s = now_s

    async def carried_out(self, effect: Effect) -> Event | None:
        """The event that answers this effect, if one does."""
        match effect:
            case Gather(term=term, within_s=within_s):
                return Gathered(term=term, names=await self.peers.gather(within_s))
            case ClaimTerm(term=term, alone=alone, mark=mark, within_s=within_s):
                return await self._pool.claim(term, alone, mark, within_s)
            case RevokeSession():
                return await self._revoked(effect)
            case OpenSession(term=term, within_s=within_s):
                return await self._opened(term, within_s)
            case CloseSession():
                await self._pool.close_acting()
            case Stage():
                return await self._staged(effect)
            case Probe(name=name, address=address, within_s=within_s):
                asked_s = self._now_s()
                answers = await self._pool.probe(address, within_s)
                return Probed(name=name, answers=answers, at_s=asked_s)
            case ProbeGuest():
                return await self._knocked(effect)
            case Tell(page=page):
                return await self._told(page)
        return None

    async def _knocked(self, effect: ProbeGuest) -> GuestProbed:
        answers = await self._guests.answers(effect.addresses, effect.port, effect.within_s)
        return GuestProbed(
            vm=effect.vm, started_epoch_s=effect.started_epoch_s, by=effect.by, answers=answers
        )

    async def _revoked(self, effect: RevokeSession) -> SessionRevoked:
        """A session that is sealed by a key that we do not have is left to the time that was waited."""
        ref = self.peers.unseal(effect.sealed) if effect.sealed else ""
        done = await self._pool.revoke(ref, effect.within_s) if ref else True
        message = "" if done else "the pool does not say that the predecessor's session is over"
        return SessionRevoked(term=effect.term, done=done, message=message)

    async def _opened(self, term: int, within_s: float) -> SessionOpened:
        ref = await self._pool.open_acting(within_s)
        if not ref:
            return SessionOpened(term=term, message="the pool gives no session to act in")
        return SessionOpened(term=term, sealed=self.peers.seal(ref))

    async def _staged(self, effect: Stage) -> Staged:
        """Subversion first: it knows the authors too. Then whichever peer has the tree."""
        staged = await self._source.stage(effect.target, effect.since, effect.timeout_s)
        if staged.tree is not None:
            return staged
        return await self.peers.stage(effect.target, effect.since, effect.timeout_s)

    async def _told(self, page: Page) -> PageTold:
        ways = await asyncio.gather(self._telling.tell(page), self._pool.tell(page, TELL_S))
        told = "; ".join(ways[0]) or "no way of telling anybody is set up"
        _log.warning("%s (%s): %s", page.title, page.severity.value, told)
        if ways[1]:
            _log.info("the pool was not told: %s", ways[1])
        return PageTold(page=page)
