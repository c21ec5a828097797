"""One member spoken to by itself, while the pool has no master: what a promotion is made of.

A local session is good at this one member only, needs no database, and ends with the member's
toolstack. It is given to the servers' own superuser alone (root): no account of a directory gets one.
Nothing here decides who is to be promoted, or proves that the old master is dead.
"""

from __future__ import annotations

from typing import cast

from xapi.acting import Acting
from xapi.address import parse_address, sibling
from xapi.records import NULL
from xapi.session import Permitted, PoolSession, always, assure
from xapi.tables import Tables
from xapi.transport import FailureKind, JsonValue, NotBegun, TransportFailure


class Emergency:
    """A member at `address` (without a port: the pool's). Each call is over within its `within_s` seconds
    and raises Unavailable alone: XapiFailure for SESSION_INVALID too, once the toolstack was started anew.

    Any other call at a member whose master is dead blocks until its deadline, be it one that only reads.
    """

    def __init__(self, session: PoolSession, address: str) -> None:
        self._session = session
        self._address = address
        self._at = ""
        self._ref = ""

    async def local_login(self, within_s: float) -> None:
        """Get a local session, in place of the last one. No certificate that is not trusted gets to see
        the password; a wrong one is refused after seconds only."""
        try:
            parse_address(self._address)
            self._at = sibling(self._session.addresses[0], self._address)
        except ValueError as error:
            raise NotBegun("BadAddress", str(error)) from None
        await self.leave()
        self._ref = await self._session.enter_locally(self._at, within_s)

    async def leave(self) -> None:
        """End the local session, if there is one."""
        ref, self._ref = self._ref, ""
        if ref:
            await self._session.leave_locally(self._at, ref)

    async def is_in_emergency_mode(self, within_s: float) -> bool:
        """Whether its toolstack was started and did not get to its master. One that only lost its master
        while it ran is not, for as long as it runs."""
        return self._truth(await self._call("host.is_in_emergency_mode", within_s=within_s))

    async def is_slave(self, within_s: float) -> bool:
        """What it takes itself for: False at a master."""
        # The member answers for itself, whatever host is named.
        return self._truth(await self._call("pool.is_slave", NULL, within_s=within_s))

    async def transition_to_master(self, within_s: float, permitted: Permitted = always) -> None:
        """Have it become master, on its own copy of the database; its toolstack starts anew for that, so it
        answers as before for some seconds and then not at all. One that is master already starts anew as
        well: `is_slave` is asked first. `permitted` as for `PoolSession`."""
        await self._call(
            "pool.emergency_transition_to_master", within_s=within_s, permitted=permitted
        )

    async def make_master(self, within_s: float, permitted: Permitted = always) -> None:
        """Have it become master unless it is; each part of it has `within_s`."""
        await self.local_login(within_s)
        try:
            if await self.is_slave(within_s):
                await self.transition_to_master(within_s, permitted)
        finally:
            await self.leave()

    async def _call(
        self, method: str, *params: JsonValue, within_s: float, permitted: Permitted = always
    ) -> JsonValue:
        if not self._ref:
            raise NotBegun("NoLocalSession", f"{self._address}: there is no local session")
        assure(permitted)
        return await self._session.call_at(
            self._at, method, self._ref, *params, deadline_s=within_s
        )

    def _truth(self, answer: JsonValue) -> bool:
        if isinstance(answer, bool):
            return answer
        raise _unreadable(self._at, "a truth value", answer)


async def recover_slaves(
    acting: Acting, tables: Tables, within_s: float, permitted: Permitted = always
) -> tuple[str, ...]:
    """Have the new master tell the other members that it is; who took it in, sorted: uuids, or references
    where `tables` do not know a host. Who is not listed was not reached, or waits for no master: it
    follows of its own accord later, or is lost. Asking again costs nothing. Raises Unavailable."""
    answer = await acting.change(
        "pool.recover_slaves", deadline_s=within_s, permitted=permitted, replay=True
    )
    if not isinstance(answer, list) or not all(isinstance(ref, str) for ref in answer):
        raise _unreadable("pool.recover_slaves", "a list of hosts", answer)
    hosts = (tables.host.get(ref) or ref for ref in cast("list[str]", answer))
    return tuple(sorted(host if isinstance(host, str) else host.uuid for host in hosts))


def _unreadable(where: str, wanted: str, answer: JsonValue) -> TransportFailure:
    text = f"{where}: {wanted} was asked for, and {type(answer).__name__} came"
    return TransportFailure(FailureKind.HTTP, text, sent=True)
