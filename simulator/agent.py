"""A fence agent that speaks to the simulated fence devices, in-process and in any kind of time.

It behaves as the usual agents do: it switches, then asks until it sees the effect, and gives up
after a while. What it gave up on may still happen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from simulator.bmc import BmcError, BmcIdentity, Bmcs, PowerState
from simulator.site import Site

T = TypeVar("T")

POWER_TIMEOUT_S = 20.0
"""For so many seconds an agent waits for an answer, and then for the power to change."""

_ASK_AGAIN_S = 1.0


class FenceAgent:
    """All fence devices of a pool, by name. An unknown name raises LookupError."""

    def __init__(self, site: Site, bmcs: Bmcs) -> None:
        self._site = site
        self._bmcs = bmcs

    async def status(self, name: str) -> PowerState:
        """Whether the device says on or off. Raises BmcError where it says neither."""
        return await self._patiently(name, self._bmcs.status(name))

    async def off(self, name: str) -> None:
        """Switch off and wait for the device to say so; what is off already stays so.

        Raises BmcError; only for refused is it certain that nothing was switched.
        """
        await self._switch(name, "off")

    async def on(self, name: str) -> None:
        """Switch on and wait for the device to say so. Raises as ``off`` does."""
        await self._switch(name, "on")

    async def identity(self, name: str) -> BmcIdentity:
        """Which server the controller says it is a part of.

        Raises BmcError; LookupError for an outlet, which does not know.
        """
        await self.status(name)
        return self._bmcs.identity(name)

    async def _switch(self, name: str, to: PowerState) -> None:
        if await self.status(name) == to:
            return
        clock = self._site.clock
        await self._patiently(name, self._bmcs.switch(name, to))
        until = clock.now() + POWER_TIMEOUT_S
        while clock.now() < until:
            if await self.status(name) == to:
                return
            await clock.sleep(_ASK_AGAIN_S)
        raise BmcError("not-switched", f"{name} is not {to} after {POWER_TIMEOUT_S:g} s")

    async def _patiently(self, name: str, asking: Coroutine[Any, Any, T]) -> T:
        """The answer; silence is waited out. The device goes on with what the agent gave up on."""
        clock = self._site.clock
        until = clock.now() + POWER_TIMEOUT_S
        job = asyncio.create_task(asking)
        limit = asyncio.create_task(clock.sleep(POWER_TIMEOUT_S))
        job.add_done_callback(_heard)
        try:
            await asyncio.wait([job, limit], return_when=asyncio.FIRST_COMPLETED)
        finally:
            limit.cancel()
        if job.done():
            try:
                return job.result()
            except BmcError as error:
                if error.kind != "no-answer":
                    raise
                await clock.sleep(until - clock.now())
        raise BmcError("no-answer", f"{name} did not answer within {POWER_TIMEOUT_S:g} s")


def _heard(job: asyncio.Task[Any]) -> None:
    """Whoever gave up does not look at the outcome; it is not lost for all that."""
    if not job.cancelled():
        job.exception()
