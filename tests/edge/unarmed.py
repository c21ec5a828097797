"""Fence devices that nobody has."""

from __future__ import annotations

from fencing.devices import DeviceUse
from reconciler.power import DeviceFound


class Unarmed:
    """Whatever is asked about cannot be told, whatever is to be switched is not there."""

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        del within_s
        return DeviceFound(device=use.device, power="unknown", message="no such device")

    async def off(self, use: DeviceUse, within_s: float) -> str:
        del use, within_s
        return "no such device"

    async def on(self, use: DeviceUse, within_s: float) -> str:
        del use, within_s
        return "no such device"
