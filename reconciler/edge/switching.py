"""Switching: asks fence devices and switches them, for the reconciler.

What is being switched hangs on the lease of the node that began it: where that ends, the devices'
agents are ended too, long before their own time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fencing.devices import DeviceUse
from reconciler.ports import Devices
from reconciler.power import DeviceFound, LookAtPower, PowerLooked, PowerOff, PowerOn, PowerSwitched

LOOK_S = 10.0
"""A device that does not say within that time how it stands is no proof, and no help."""

MARGIN_S = 10.0
"""How much later than its time-out a device is given up, though it should have been by its agent."""

TETHER_S = 0.2

NOT_BEGUN = "not begun: this node may not act any more"
CUT_OFF = "ended with the lease of the node that began it"

Switch = Callable[[DeviceUse, float], Coroutine[Any, Any, str]]


class Switching:
    """`permitted` says whether a power-off may be begun at this very moment, and `goes_on` whether one
    that was begun may: a hold begins nothing, and lets what is under way come to its end."""

    def __init__(
        self, devices: Devices, permitted: Callable[[], bool], goes_on: Callable[[], bool]
    ) -> None:
        self._devices = devices
        self._permitted = permitted
        self._goes_on = goes_on

    async def look(self, effect: LookAtPower) -> PowerLooked:
        """What these devices say, each within `LOOK_S`."""
        found = await asyncio.gather(*(self._found(use) for use in effect.devices))
        return PowerLooked(node=effect.node, round=effect.round, found=tuple(found))

    async def _found(self, use: DeviceUse) -> DeviceFound:
        try:
            async with asyncio.timeout(LOOK_S + MARGIN_S):
                return await self._devices.look(use, LOOK_S)
        except TimeoutError:
            return DeviceFound(
                device=use.device, power="unknown", message="it did not answer in time"
            )

    async def off(self, effect: PowerOff) -> PowerSwitched:
        """Switch all of them off at the same time; none once this node may not act."""
        return await self._all(effect, self._devices.off, self._permitted)

    async def on(self, effect: PowerOn) -> PowerSwitched:
        """Switch all of them on at the same time, in a hold as well."""
        return await self._all(effect, self._devices.on, self._goes_on)

    async def _all(
        self, effect: PowerOff | PowerOn, switch: Switch, permitted: Callable[[], bool]
    ) -> PowerSwitched:
        uses = effect.devices
        messages = await asyncio.gather(*(self._switched(use, switch, permitted) for use in uses))
        said = {use.device: text for use, text in zip(uses, messages, strict=True)}
        return PowerSwitched(node=effect.node, round=effect.round, messages=said)

    async def _switched(self, use: DeviceUse, switch: Switch, permitted: Callable[[], bool]) -> str:
        if not permitted():
            return NOT_BEGUN
        switching = asyncio.ensure_future(switch(use, use.longest_s))
        try:
            async with asyncio.timeout(use.longest_s + MARGIN_S):
                while not switching.done():
                    await asyncio.wait([switching], timeout=TETHER_S)
                    if not switching.done() and not self._goes_on():
                        return CUT_OFF
            return switching.result()
        except TimeoutError:
            return "it did not answer in time"
        finally:
            if not switching.done():
                switching.cancel()
                await asyncio.wait([switching])
