"""The pool for the rest of cxm: watch it, look at it once, act on it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from reconciler.actions import Answer, Call
from reconciler.members import Said
from reconciler.messages import PoolLost, PoolObserved, TermClaimed
from reconciler.observed import Observed
from reconciler.paging import Page
from xapi.acting import Acting, revoke
from xapi.alerts import tell
from xapi.cache import Cache
from xapi.claims import claim
from xapi.emergency import Emergency, recover_slaves
from xapi.perform import Performer
from xapi.probe import probe
from xapi.roles import role
from xapi.session import Permitted, PoolSession, always
from xapi.transport import (
    FailureKind,
    Transport,
    TransportFailure,
    Unavailable,
)

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0

PATIENCE = 2
"""So many failures in a row have the master looked for elsewhere."""

PATIENCE_WITH_HUNG = 12
"""The same where the master takes requests and answers none. Looking anew then mostly means logins
that it carries out in the end, for nobody: sessions that count against the pool's limit."""

SETTLE_S = 0.1
"""After a call returned and before the pool is asked for a barrier: whoever made the call must
have noted its return by then, or the barrier would count as older than the call."""

Publish = Callable[[PoolObserved | PoolLost], None]

_log = logging.getLogger("cxm.xapi")


class PoolClient:
    """One pool, seen through one session and acted on through the same, or through a leader's own.

    `addresses` are members, as HOST, HOST:PORT or [IPV6]:PORT; the port holds for all of them.
    `node` and `version` name us in the pool's session list and in the observation. `clock` gives
    epoch seconds; everything else is timed by the running loop's `time()`. `pool_uuid` is the pool
    that was seen before, where that is known: a member that was ejected since answers as master of
    a pool of its own, and must not be taken for ours. ValueError for ill-formed addresses.

    Use it as an asynchronous context manager, or await `close` in a `finally`: sessions that are
    not logged out count against the pool's limit for a day.
    """

    def __init__(
        self,
        transport: Transport,
        addresses: Sequence[str],
        user: str,
        password: str,
        node: str,
        version: str,
        *,
        clock: Callable[[], float] = time.time,
        jitter: random.Random | None = None,
        pool_uuid: str = "",
    ) -> None:
        self._transport = transport
        originator = f"cxm/{version}@{node}"
        self._session = PoolSession(transport, addresses, (user, password), originator, pool_uuid)
        self._cache = Cache(self._session, node, clock)
        self._acting = Acting(self._session)
        self._performer = Performer(self._session, self._cache, self._acting)
        self._jitter = jitter or random.SystemRandom()
        self._returned = asyncio.Event()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All known members, the configured ones first: worth keeping for the next start."""
        return self._session.addresses

    async def run(self, publish: Publish) -> None:
        """Follow the pool until cancelled; publish each new picture, and each failure to get one.

        A picture whose content is the same is published too: its age has changed.
        """
        barriers = asyncio.create_task(self._ask_for_barriers(publish))
        watching = asyncio.create_task(self._acting.watch())
        try:
            await self._follow(publish)
        finally:
            barriers.cancel()
            watching.cancel()

    async def snapshot(self) -> Observed:
        """The pool now, once. Raises Unavailable (UnknownCertificate, NoMaster, ...)."""
        await self._cache.advance()
        return self._picture()

    async def perform(
        self, txn: str, call: Call, timeout_s: float, permitted: Permitted = always
    ) -> Answer:
        """Make `call` now, while `run` follows the pool; see `Performer.perform`."""
        try:
            return await self._performer.perform(txn, call, timeout_s, permitted)
        finally:
            self._returned.set()

    def refresh(self) -> None:
        """Have `run` publish a picture as of now, or a little later."""
        self._returned.set()

    # --- leading ----------------------------------------------------------------------------------

    async def claim(self, term: int, alone: int, mark: str, within_s: float) -> TermClaimed:
        """Claim `term`, led alone in so often, for whoever `mark` names; see `xapi.claims`."""
        return await claim(self._session, term, alone, mark, within_s)

    async def revoke(self, ref: str, within_s: float) -> bool:
        """End another's session; False where it may still be good."""
        return await revoke(self._session, ref, within_s)

    @property
    def acting(self) -> bool:
        """Whether there is a session to act in that is not known to be over."""
        return self._acting.open

    async def open_acting(self, within_s: float) -> str:
        """Log in anew, and act in that session alone from now on; its reference, "" in vain."""
        return await self._acting.enter(within_s)

    async def close_acting(self) -> None:
        """End that session: nothing can be changed until another is opened."""
        await self._acting.leave()

    async def acting_ended(self) -> None:
        """Returns once that session was ended by somebody else, or the master; for each time it is."""
        await self._acting.ended()

    async def probe(self, address: str, within_s: float) -> bool | None:
        """Whether the toolstack of this member answers for itself; see `xapi.probe`."""
        return await probe(self._session, address, within_s)

    def emergency(self, address: str) -> Emergency:
        """This member alone, for as long as the pool has no master; see `xapi.emergency`."""
        return Emergency(self._session, address)

    async def recover_slaves(
        self, within_s: float, permitted: Permitted = always
    ) -> tuple[str, ...]:
        """Have a new master gather its members; those that took it in. Raises Unavailable."""
        return await recover_slaves(self._acting, self._cache.tables, within_s, permitted)

    async def role(self, address: str, within_s: float) -> Said:
        """What this member takes itself for; see `xapi.roles`."""
        return await role(self._session, address, within_s)

    async def make_master(
        self, address: str, within_s: float, permitted: Permitted = always
    ) -> str:
        """Have this member become master on its copy of the database; "", or why it may not have heard."""
        try:
            await self.emergency(address).make_master(within_s, permitted)
        except Unavailable as failure:
            return failure.message
        return ""

    async def tell_members(
        self, within_s: float, permitted: Permitted = always
    ) -> tuple[tuple[str, ...], str]:
        """Have a new master gather its members: those that took it in, or why none can be named."""
        try:
            return await self.recover_slaves(within_s, permitted), ""
        except Unavailable as failure:
            return (), failure.message

    async def send_copies(self, within_s: float, permitted: Permitted = always) -> str:
        """Have the master send its database to all members it hears; "", or why it may not have."""
        try:
            await self._acting.change(
                "pool.sync_database", deadline_s=within_s, permitted=permitted, replay=True
            )
        except Unavailable as failure:
            return failure.message
        return ""

    async def tell(self, page: Page, within_s: float) -> str:
        """Leave a message in the pool; "", or why it may not have come about."""
        return await tell(self._session, page, within_s)

    # --- ending -----------------------------------------------------------------------------------

    async def close(self) -> None:
        """Log out and let the connections go; `run` and every `perform` must have ended."""
        try:
            await self._acting.leave()
            await self._session.close()
        finally:
            await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _follow(self, publish: Publish) -> None:
        failures = 0
        while True:
            try:
                await self._cache.advance()
                picture = self._picture()
            except Unavailable as failure:
                failures += 1
                publish(PoolLost(reason=failure.reason, message=failure.message))
                if failures >= _patience(failure):
                    self._session.drop()
                await asyncio.sleep(self._pause_s(failures))
            else:
                failures = 0
                publish(PoolObserved(observed=picture))

    def _picture(self) -> Observed:
        picture = self._cache.observed()
        if picture is None:
            text = "the pool tells nothing of itself: no record of class pool"
            raise TransportFailure(FailureKind.HTTP, text, sent=True)
        return picture

    async def _ask_for_barriers(self, publish: Publish) -> None:
        while True:
            await self._returned.wait()
            await asyncio.sleep(SETTLE_S)
            self._returned.clear()
            before = self._cache.as_of_s
            try:
                await self._cache.barrier()
            except Unavailable as failure:
                # The next answers of the pool move the moment on anyway, only later.
                _log.info("no barrier: %s", failure.message)
                continue
            picture = self._cache.observed()
            if picture is not None and self._cache.as_of_s != before:
                publish(PoolObserved(observed=picture))

    def _pause_s(self, failures: int) -> float:
        longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
        return longest * (0.5 + 0.5 * self._jitter.random())


def _patience(failure: Unavailable) -> int:
    if not isinstance(failure, TransportFailure) or not failure.sent:
        return PATIENCE
    return PATIENCE_WITH_HUNG if failure.kind is FailureKind.TIMEOUT else PATIENCE
