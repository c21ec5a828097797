"""Mastering: speaks to the members of a pool one by one, for the reconciler."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reconciler.members import (
    AskMembers,
    CopiesSent,
    MakeMaster,
    MasterMade,
    MemberEffect,
    MemberEvent,
    MembersAsked,
    MembersTold,
    Role,
    Said,
    SendCopies,
    TellMembers,
)
from reconciler.ports import Members

MARGIN_S = 10.0
"""How much later than its time-out a call is given up, though it should have been by itself."""

PARTS = 3
"""Calls that it takes to make a member master, each with its own time-out."""

LATE = "it did not answer in time"


class Mastering:
    """`permitted` says whether this node may begin a call in the pool at this very moment, `emergency`
    whether it may where the pool has no master."""

    def __init__(
        self, members: Members, permitted: Callable[[], bool], emergency: Callable[[], bool]
    ) -> None:
        self._members = members
        self._permitted = permitted
        self._emergency = emergency

    async def carried_out(self, effect: MemberEffect) -> MemberEvent:
        """What came of it."""
        match effect:
            case AskMembers(addresses=addresses, within_s=within_s):
                asked = (self._said(address, within_s) for address in addresses.values())
                said = await asyncio.gather(*asked)
                return MembersAsked(said=dict(zip(addresses, said, strict=True)))
            case MakeMaster():
                return await self._made(effect)
            case TellMembers():
                return await self._told(effect)
            case SendCopies(within_s=within_s):
                return await self._sent(within_s)

    async def _said(self, address: str, within_s: float) -> Said:
        try:
            async with asyncio.timeout(within_s + MARGIN_S):
                return await self._members.role(address, within_s)
        except TimeoutError:
            return Said(role=Role.SILENT, message=LATE)

    async def _made(self, effect: MakeMaster) -> MasterMade:
        message = LATE
        try:
            async with asyncio.timeout(PARTS * effect.within_s + MARGIN_S):
                message = await self._members.make_master(
                    effect.address, effect.within_s, self._emergency
                )
        except TimeoutError:
            pass
        return MasterMade(promotion=effect.promotion, message=message)

    async def _told(self, effect: TellMembers) -> MembersTold:
        try:
            async with asyncio.timeout(effect.within_s + MARGIN_S):
                hosts, message = await self._members.tell_members(effect.within_s, self._permitted)
        except TimeoutError:
            return MembersTold(promotion=effect.promotion, message=LATE)
        return MembersTold(promotion=effect.promotion, hosts=hosts, message=message)

    async def _sent(self, within_s: float) -> CopiesSent:
        try:
            async with asyncio.timeout(within_s + MARGIN_S):
                return CopiesSent(
                    message=await self._members.send_copies(within_s, self._permitted)
                )
        except TimeoutError:
            return CopiesSent(message=LATE)
