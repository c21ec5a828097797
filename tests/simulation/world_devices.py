"""The fence devices of a simulated pool, as daemons under test ask for them."""

from __future__ import annotations

import asyncio
from uuid import UUID

from fencing.binding import Identity
from fencing.devices import DeviceUse
from reconciler.power import DeviceFound
from simulator.bmc import BmcError
from simulator.world import World


class WorldDevices:
    """Each node's own controller, `NAME-bmc` in the pool. `switched` are the nodes whose devices were
    told to switch off, in their order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.switched: list[str] = []

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        name = f"{use.node}-bmc"
        try:
            async with asyncio.timeout(within_s):
                seen = await self._world.agent.identity(name)
                power = await self._world.agent.status(name)
        except BmcError as error:
            return DeviceFound(device=use.device, power="unknown", message=error.message)
        except TimeoutError:
            return DeviceFound(device=use.device, power="unknown", message="no answer in time")
        identity = Identity(guid=UUID(seen.system_uuid).bytes_le, serial=seen.serial)
        return DeviceFound(device=use.device, power=power, identity=identity, message=power)

    async def off(self, use: DeviceUse, within_s: float) -> str:
        self.switched.append(use.node)
        try:
            async with asyncio.timeout(within_s):
                await self._world.agent.off(f"{use.node}-bmc")
        except BmcError as error:
            return error.message
        except TimeoutError:
            return "no answer in time"
        return "it says that it is off"
