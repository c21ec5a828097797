"""All hosts of a simulated pool on the network, each open exactly while its host answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from simulator.wire.listener import Listener
from simulator.world import World

_AGAIN_S = 1.0


class Face:
    """The wire side of a world: one listener per host, by the host's name."""

    def __init__(self, world: World, listeners: Mapping[str, Listener]) -> None:
        self._world = world
        self._listeners = listeners
        self._following: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Open what is to be open, and follow the world from now on. Raises OSError."""
        await self._settle()
        self._following = asyncio.create_task(self._follow())

    async def end(self) -> None:
        """Close all for good; idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for listener in self._listeners.values():
            await listener.end()

    async def _follow(self) -> None:
        """Open and close as hosts come and go."""
        while True:
            try:
                await self._settle()
            except OSError:
                # Another program listens where a host was that is coming back: it may go again.
                await asyncio.sleep(_AGAIN_S)
            # Nothing can happen between the look and the wait: neither gives way to others.
            if not self._unsettled():
                await self._world.changed()

    async def _settle(self) -> None:
        for host in self._unsettled():
            listener = self._listeners[host]
            if self._world.reachable(host):
                await listener.open()
            else:
                await listener.close()
                if self._world.powered(host):
                    listener.lighten()
                else:
                    listener.darken()

    def _unsettled(self) -> list[str]:
        """Hosts whose listener is not as it should be."""
        return [
            host
            for host, listener in self._listeners.items()
            if listener.is_open != self._world.reachable(host)
            or listener.is_dark == self._world.powered(host)
        ]
