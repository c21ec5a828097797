"""The fence devices of a simulated pool, as daemons under test ask for them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

from fencing.binding import Identity
from fencing.devices import DeviceUse
from reconciler.power import DeviceFound
from simulator.bmc import BmcError
from simulator.world import World


class WorldDevices:
    """Each node's own controller, `NAME-bmc` in the pool; an outlet is `DEVICE-PLUG` there. `switched` are
    the nodes whose devices were told to switch off, in their order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.switched: list[str] = []

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        name = _name(use)
        try:
            async with asyncio.timeout(within_s):
                identity = await self._identity(name, use)
                power = await self._world.agent.status(name)
        except BmcError as error:
            return DeviceFound(device=use.device, power="unknown", message=error.message)
        except TimeoutError:
            return DeviceFound(device=use.device, power="unknown", message="no answer in time")
        return DeviceFound(device=use.device, power=power, identity=identity, message=power)

    async def _identity(self, name: str, use: DeviceUse) -> Identity | None:
        if use.plug is not None:
            return None
        seen = await self._world.agent.identity(name)
        return Identity(guid=UUID(seen.system_uuid).bytes_le, serial=seen.serial)

    async def off(self, use: DeviceUse, within_s: float) -> str:
        self.switched.append(use.node)
        return await _said(self._world.agent.off(_name(use)), within_s, "off")

    async def on(self, use: DeviceUse, within_s: float) -> str:
        return await _said(self._world.agent.on(_name(use)), within_s, "on")


def _name(use: DeviceUse) -> str:
    return f"{use.node}-bmc" if use.plug is None else f"{use.device}-{use.plug}"


async def _said(switching: Coroutine[Any, Any, None], within_s: float, to: str) -> str:
    try:
        async with asyncio.timeout(within_s):
            await switching
    except BmcError as error:
        return error.message
    except TimeoutError:
        return "no answer in time"
    return f"it says that it is {to}"
