"""The guests of a simulated pool, as daemons under test hear them."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.database import Row
from simulator.values import DateTime
from simulator.world import World

SERVES_AFTER_S = 20.0
"""A guest answers to ping as soon as its agent speaks, and at any port so long after that."""


class WorldGuests:
    """Each guest answers at the addresses that its agent told, as long as it really runs. `asked` counts
    the questions by their address."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.asked: dict[str, int] = {}

    async def answers(self, addresses: Sequence[str], port: int | None, within_s: float) -> bool:
        del within_s
        for address in addresses:
            self.asked[address] = self.asked.get(address, 0) + 1
        found = (row for row in self._world.pool.db.rows("VM") if self._has(row, addresses))
        vm = next(found, None)
        return vm is not None and self._serves(vm, port)

    def _has(self, vm: Row, addresses: Sequence[str]) -> bool:
        guest = self._guest(vm)
        return guest is not None and bool({*addresses} & {*guest.map("networks").values()})

    def _guest(self, vm: Row) -> Row | None:
        return self._world.pool.db.find("VM_guest_metrics", vm.text("guest_metrics"))

    def _serves(self, vm: Row, port: int | None) -> bool:
        guest, pool = self._guest(vm), self._world.pool
        if guest is None or not self._world.running_on(vm.text("uuid")).hosts:
            return False
        spoke_s = DateTime(guest.text("last_updated")).epoch
        return port is None or pool.clock.wall() - spoke_s >= SERVES_AFTER_S
