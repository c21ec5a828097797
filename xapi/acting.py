"""The session in which a leader acts: it has no other, and does not log in again by itself.

So whoever takes over ends this one session, and everything that a stale leader still has on its way
fails. Watching the pool is another session's matter, which nobody ends.
"""

from __future__ import annotations

import asyncio
import logging

from msgspec.structs import replace

from xapi.session import LOST, READ_S, Login, Permitted, PoolSession, always, assure
from xapi.transport import JsonValue, NotBegun, Unavailable, XapiFailure

ACTING = "term"
"""What such a session is for, in the pool's list of sessions."""

CHECK_S = 10.0
"""How often an idle leader looks whether its session is still good; each look also keeps it alive."""

_log = logging.getLogger("cxm.xapi")


class Acting:
    """Where there is a leader, what changes anything goes through here; `session` is the watching one.

    Without peers it is never opened, and `needed` stays false.
    """

    def __init__(self, session: PoolSession) -> None:
        self._session = session
        self._login: Login | None = None
        self._why_not = ("LeaseOver", "There is no session to act in.")
        self._needed = False
        self._opened = 0
        self._ended = asyncio.Event()

    @property
    def needed(self) -> bool:
        """Whether nothing may be changed in any other session: ever since this one was asked for."""
        return self._needed

    @property
    def open(self) -> bool:
        return self._login is not None

    async def enter(self, within_s: float) -> str:
        """A fresh session at the master, in place of the last one; its reference, "" in vain."""
        self._needed = True
        await self.leave()
        self._ended.clear()
        opened = self._opened
        try:
            # A master that is still being looked for may take longer than we have.
            async with asyncio.timeout(within_s):
                login = await self._session.another(ACTING, within_s)
        except TimeoutError:
            _log.warning("no session to act in within %g s", within_s)
            return ""
        except Unavailable as failure:
            _log.warning("no session to act in: %s", failure.message)
            return ""
        if opened != self._opened:
            # It was given up meanwhile: we lead no more.
            self._session.leave_later(login.address, login.ref)
            return ""
        self._login = login
        return login.ref

    async def leave(self) -> None:
        """End it, if there is one; from now on nothing can be changed."""
        self._opened += 1
        login, self._login = self._login, None
        if login is not None:
            self._why_not = ("LeaseOver", "The session to act in is closed.")
            await self._session.leave(login.address, login.ref)

    async def change(
        self,
        method: str,
        *params: JsonValue,
        deadline_s: float = READ_S,
        replay: bool = True,
        permitted: Permitted = always,
    ) -> JsonValue:
        """A request that changes something: in this session where one is needed, else in the one that
        watches, and there once more in a new one if `replay`. Raises Unavailable."""
        if self._needed:
            return await self.call(method, *params, deadline_s=deadline_s, permitted=permitted)
        return await self._session.call(
            method, *params, deadline_s=deadline_s, replay=replay, permitted=permitted
        )

    async def call(
        self,
        method: str,
        *params: JsonValue,
        deadline_s: float = READ_S,
        permitted: Permitted = always,
    ) -> JsonValue:
        """Call `method` in it, once. Raises Unavailable; NotBegun where it is or turns out to be over."""
        login = self._login
        if login is None:
            raise NotBegun(*self._why_not)
        assure(permitted)
        try:
            return await self._session.call_as(login, method, *params, deadline_s=deadline_s)
        except XapiFailure as failure:
            if failure.code not in LOST:
                raise
            raise self._lost(login, failure) from failure

    async def ended(self) -> None:
        """Returns once somebody else has ended it, for each time that happens."""
        await self._ended.wait()
        self._ended.clear()

    async def watch(self) -> None:
        """Look every now and then whether it is still good, until cancelled."""
        while True:
            await asyncio.sleep(CHECK_S)
            login = self._login
            if login is None:
                continue
            try:
                await self.call("session.get_this_host", login.ref)
            except Unavailable as failure:
                _log.info("the session to act in: %s", failure.message)

    def _lost(self, login: Login, failure: XapiFailure) -> NotBegun:
        text = (
            f"The session to act in is over ({failure.code}): another node took over, or the pool's "
            "master is another one or was restarted."
        )
        if self._login is login:
            self._login, self._why_not = None, ("SessionRevoked", text)
            self._ended.set()
        return NotBegun("SessionRevoked", text)


async def revoke(session: PoolSession, ref: str, within_s: float) -> bool:
    """End another's session; True where it is surely over, be it since long."""
    try:
        async with asyncio.timeout(within_s):
            theirs = replace(await session.login(), ref=ref)
            await session.call_as(theirs, "session.logout", deadline_s=within_s)
    except XapiFailure as failure:
        return failure.code == "SESSION_INVALID"
    except (TimeoutError, Unavailable) as failure:
        _log.warning("a session may not be over: %s", failure)
        return False
    return True
