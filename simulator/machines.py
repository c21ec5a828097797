"""The servers as they are: power, toolstack, role, and who hears whom. No database is asked.

Two faults are read here. ``hang``: the server stands still; it accepts nothing, what runs on it
makes no step, and nobody can tell that its disks are not written to. ``net-cut``: packets of a
server's management address vanish; its domains and its storage do not notice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from simulator.database import Copy
from simulator.faults import FaultTable
from simulator.values import ApiError


@dataclass(eq=False, slots=True)
class Machine:
    """One server.

    ``master`` names the machine that the running toolstack takes for the pool's master,
    ``appointed`` the one that it will take for it after its next start. ``copy`` is the database on
    its own disk, if it is a slave; which one it serves or follows is known to ``Reigns``.
    ``stashed`` is set in emergency mode: what every call is answered. ``comparing``: its toolstack
    has started and not opened the host yet, which nobody else can before. ``epoch`` counts the ends of
    its toolstack, ``boots`` the losses of its power; whatever was under way before is no more.
    """

    name: str
    uuid: str
    address: str
    master: str
    appointed: str
    copy: Copy
    powered: bool = True
    toolstack: bool = True
    booted_at: float = 0.0
    epoch: int = 0
    boots: int = 0
    stashed: ApiError | None = None
    comparing: bool = False
    local_sessions: set[str] = field(default_factory=set)

    @property
    def up(self) -> bool:
        """Whether connections to its API are accepted."""
        return self.powered and self.toolstack

    @property
    def is_master(self) -> bool:
        """Whether its toolstack takes itself for the pool's master."""
        return self.master == self.name


class Machines:
    """All servers by name, in the order of the pool's file."""

    def __init__(self, faults: FaultTable) -> None:
        self._faults = faults
        self._all: dict[str, Machine] = {}
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, machine: Machine) -> None:
        """One more server."""
        self._all[machine.name] = machine

    def __getitem__(self, name: str) -> Machine:
        return self._all[name]

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[Machine]:
        return iter(self._all.values())

    def hung(self, machine: Machine) -> bool:
        """Whether it stands still."""
        return self._faults.active("hang", host=machine.name) is not None

    def at_work(self, machine: Machine) -> bool:
        """Whether its toolstack is up and makes progress."""
        return machine.up and not self.hung(machine)

    def cut_from_clients(self, machine: Machine) -> bool:
        """Whether what clients send to it vanishes."""
        cuts = self._faults.all_active("net-cut", host=machine.name)
        return any(cut.scope.get("from") in (None, "client") for cut in cuts)

    def linked(self, one: Machine, other: Machine) -> bool:
        """Whether packets pass between two servers."""
        return not (self._cut(one, other) or self._cut(other, one))

    def hears(self, one: Machine, other: Machine) -> bool:
        """Whether ``other`` would answer ``one``."""
        return self.at_work(other) and self.linked(one, other)

    def _cut(self, machine: Machine, other: Machine) -> bool:
        for cut in self._faults.all_active("net-cut", host=machine.name):
            side = cut.scope.get("from")
            if side in (None, "hosts") or (side == "master" and machine.master == other.name):
                return True
        return False

    async def progress(self, machine: Machine, boots: int) -> None:
        """Return once the machine is not hung; never, if it has lost its power since that boot."""
        while machine.boots != boots or self.hung(machine):
            await self.changed()

    async def changed(self) -> None:
        """Wait for the next change of any server, or of what connects them."""
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(wake)
        await wake

    def tell(self) -> None:
        """Something has changed: let everybody who waits look again."""
        waiting, self._waiting = self._waiting, []
        for wake in waiting:
            if not wake.done():
                wake.set_result(None)
