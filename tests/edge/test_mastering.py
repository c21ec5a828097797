"""Mastering: what is asked of members comes back as an event, whatever they do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reconciler.edge.mastering import LATE, MARGIN_S, PARTS, Mastering
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
from simulator.clock import run_virtual
from tests.edge.lonely import Lonely

NOT_ALLOWED = "not begun: this node may not act any more"


class Crowd(Lonely):
    """Members that answer, each after so many seconds. `told` is what was changed."""

    def __init__(self, takes_s: float = 0.0) -> None:
        self.takes_s = takes_s
        self.told: list[str] = []

    async def role(self, address: str, within_s: float) -> Said:
        del within_s
        await asyncio.sleep(self.takes_s)
        return Said(role=Role.SLAVE, follows=f"master of {address}")

    async def make_master(
        self, address: str, within_s: float, permitted: Callable[[], bool]
    ) -> str:
        del within_s
        return await self._done(f"make {address}", permitted)

    async def tell_members(
        self, within_s: float, permitted: Callable[[], bool]
    ) -> tuple[tuple[str, ...], str]:
        del within_s
        message = await self._done("tell", permitted)
        return (() if message else ("u1", "u2")), message

    async def send_copies(self, within_s: float, permitted: Callable[[], bool]) -> str:
        del within_s
        return await self._done("copy", permitted)

    async def _done(self, what: str, permitted: Callable[[], bool]) -> str:
        await asyncio.sleep(self.takes_s)
        if not permitted():
            return NOT_ALLOWED
        self.told.append(what)
        return ""


def came_of(
    effect: MemberEffect, crowd: Crowd, *, acts: bool = True, emergency: bool = True
) -> MemberEvent:
    mastering = Mastering(crowd, lambda: acts, lambda: emergency)
    return run_virtual(mastering.carried_out(effect))


MAKE = MakeMaster(promotion="P-1", address="a", within_s=5.0)
TELL = TellMembers(promotion="P-1", within_s=5.0)
ASK = AskMembers(addresses={"u1": "a", "u2": "b"}, within_s=5.0)
COPY = SendCopies(within_s=5.0)


def test_each_member_is_named_with_its_own_answer() -> None:
    event = came_of(ASK, Crowd())
    assert isinstance(event, MembersAsked)
    assert {host: said.follows for host, said in event.said.items()} == {
        "u1": "master of a",
        "u2": "master of b",
    }


def test_they_are_asked_at_the_same_time() -> None:
    async def both() -> float:
        await Mastering(Crowd(4.0), lambda: True, lambda: True).carried_out(ASK)
        return asyncio.get_running_loop().time()

    assert run_virtual(both()) < 5.0


def test_what_was_told_comes_back() -> None:
    crowd = Crowd()
    assert came_of(MAKE, crowd) == MasterMade(promotion="P-1")
    assert came_of(TELL, crowd) == MembersTold(promotion="P-1", hosts=("u1", "u2"))
    assert came_of(COPY, crowd) == CopiesSent()
    assert crowd.told == ["make a", "tell", "copy"]


def test_only_in_an_emergency_it_is_enough_to_lead() -> None:
    """Whoever cannot act in the pool may still have one made master, and nothing else."""
    crowd = Crowd()
    assert came_of(MAKE, crowd, acts=False) == MasterMade(promotion="P-1")
    assert came_of(TELL, crowd, acts=False) == MembersTold(promotion="P-1", message=NOT_ALLOWED)
    assert came_of(COPY, crowd, acts=False) == CopiesSent(message=NOT_ALLOWED)
    refused = MasterMade(promotion="P-1", message=NOT_ALLOWED)
    assert came_of(MAKE, crowd, emergency=False) == refused
    assert crowd.told == ["make a"]


def test_who_does_not_come_back_is_given_up() -> None:
    crowd = Crowd(PARTS * 5.0 + MARGIN_S + 1.0)
    asked = came_of(ASK, crowd)
    assert isinstance(asked, MembersAsked)
    assert {said.role for said in asked.said.values()} == {Role.SILENT}
    assert came_of(MAKE, crowd) == MasterMade(promotion="P-1", message=LATE)
    assert came_of(TELL, crowd) == MembersTold(promotion="P-1", message=LATE)
    assert came_of(COPY, crowd) == CopiesSent(message=LATE)
    assert crowd.told == []
