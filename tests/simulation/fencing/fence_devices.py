"""The fence devices as one daemon of a site reaches them: what was sent is carried out without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from fencing.devices import DeviceUse
from reconciler.power import DeviceFound
from tests.simulation.process import Process
from tests.simulation.world_devices import WorldDevices

T = TypeVar("T")


class OwnDevices:
    """`Devices` for one process. Agents are programs of their own: no pause of the daemon stops them,
    and they die with it. `abroad` is a context that belongs to no process; `sent` is told of each
    node that a device is about to be told to switch off."""

    def __init__(
        self, devices: WorldDevices, process: Process, abroad: Context, sent: Callable[[str], None]
    ) -> None:
        self._devices = devices
        self._process = process
        self._abroad = abroad
        self._sent = sent

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        self._process.seam(f"not yet looked at: {use.device}")
        found = await self._apart(self._devices.look(use, within_s))
        self._process.seam(f"looked at: {use.device}")
        return found

    async def off(self, use: DeviceUse, within_s: float) -> str:
        self._process.seam(f"not yet switched off: {use.device}")
        self._sent(use.node)
        said = await self._apart(self._devices.off(use, within_s))
        self._process.seam(f"switched off: {use.device}")
        return said

    async def on(self, use: DeviceUse, within_s: float) -> str:
        self._process.seam(f"not yet switched on: {use.device}")
        said = await self._apart(self._devices.on(use, within_s))
        self._process.seam(f"switched on: {use.device}")
        return said

    async def _apart(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaited, so that whoever ends the waiting ends the agent."""
        return await asyncio.get_running_loop().create_task(work, context=self._abroad)
