"""Arming: fence devices as the reconciler asks for them, over whatever runs their agents."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Protocol

from fencing.agents import Attempt, Said
from fencing.binding import Identity
from fencing.devices import DeviceUse
from reconciler.power import DeviceFound


class Agents(Protocol):
    """Each `until_s` is an instant of CLOCK_BOOTTIME by which whatever was begun is over."""

    async def look(self, use: DeviceUse, until_s: float) -> tuple[Said, Identity | None]: ...

    async def power_off(self, use: DeviceUse, until_s: float) -> Attempt: ...

    async def power_on(self, use: DeviceUse, until_s: float) -> Attempt: ...


class Armed:
    """All devices that the tree names, by their agents."""

    def __init__(self, agents: Agents) -> None:
        self._agents = agents

    async def look(self, use: DeviceUse, within_s: float) -> DeviceFound:
        """What the device says of itself and of the node's power."""
        said, identity = await self._agents.look(use, _now_s() + within_s)
        return DeviceFound(
            device=use.device,
            power=said.power.value,
            identity=identity,
            message=said.message,
        )

    async def off(self, use: DeviceUse, within_s: float) -> str:
        """What the device answered to `off`."""
        attempt = await self._agents.power_off(use, _now_s() + within_s)
        return attempt.message

    async def on(self, use: DeviceUse, within_s: float) -> str:
        """What the device answered to `on`."""
        attempt = await self._agents.power_on(use, _now_s() + within_s)
        return attempt.message


def _now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def credentials(secret: str) -> Mapping[str, str]:
    """What a secret for a fence device holds: lines `name=value`, or one line that is the password."""
    lines = [line for line in secret.splitlines() if line.strip()]
    named = [line.partition("=") for line in lines]
    if len(lines) == 1 and named[0][0].strip() not in _NAMES:
        return {"password": secret}
    return {name.strip(): value.strip() for name, _, value in named}


_NAMES = frozenset({"username", "login", "password", "passwd", "community"})
"""Of options that belong into a secret: a password may have an equals sign in it, too."""
