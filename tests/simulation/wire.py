"""The way from a daemon's process to the simulated pool: a transport whose every call has seams.

What was sent is carried out whatever becomes of the sender: a hung toolstack works off what it took in
once it goes on, and nobody can take it back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextvars import copy_context
from typing import Any, cast

from simulator.values import ApiError, Unreachable, Value
from simulator.world import World
from tests.simulation.estate import ADDRESSES
from tests.simulation.process import Process
from xapi.transport import FailureKind, JsonValue, TransportFailure, XapiFailure

LATE_S = 2.5
"""How long a request of a dead process may be on its way: the next daemon is up by then."""

BACKLOG_S = 3.0
"""How long a toolstack that hung takes to work off what it took in meanwhile."""

NO_ROUTE_S = 3.0
"""Nobody refuses a connection to a server without power: it is given up."""

CHANGING = ("Async.", "VM.set_", "VM.add_tags")
HOSTS = {address: name for name, address in ADDRESSES.items()}


class Network:
    """The pool's side of the wire: outlives every daemon. `waiting`: taken in, not yet begun."""

    def __init__(self, world: World, chance: random.Random) -> None:
        self.world = world
        self._chance = chance
        self.waiting: dict[int, str] = {}
        self._context = copy_context()
        self._requests: set[asyncio.Task[Any]] = set()
        self._count = 0

    def send(
        self, host: str, method: str, params: Sequence[JsonValue], late_s: float = 0.0
    ) -> asyncio.Task[Value]:
        """A request that nothing stops any more."""
        self._count += 1
        self.waiting[self._count] = f"{method} {params[1] if params[1:] else ''}"
        served = self._served(self._count, host, method, params, late_s)
        request = asyncio.get_running_loop().create_task(served, context=self._context)
        self._requests.add(request)
        request.add_done_callback(self._ended)
        return request

    def _ended(self, request: asyncio.Task[Any]) -> None:
        self._requests.discard(request)
        if not request.cancelled():
            # Seen, also where the client is gone and nobody asks for the outcome.
            request.exception()

    async def _served(
        self, number: int, host: str, method: str, params: Sequence[JsonValue], late_s: float
    ) -> Value:
        about = {"host": host, "method": method.removeprefix("Async.")}
        faults = self.world.faults
        try:
            await asyncio.sleep(late_s)
            while (hang := faults.active("api-hang", **about)) is not None:
                await hang.ended.wait()
                # Many threads go on at once: what came first is not what is done first.
                await asyncio.sleep(self._chance.uniform(0.0, BACKLOG_S))
        finally:
            del self.waiting[number]
        return await self.world.call(host, method, cast("Sequence[Value]", params))


class Wire:
    """`xapi.transport.Transport` for one process."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._world = network.world
        self._process = process

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        host = HOSTS[address]
        self._process.seam(f"not yet sent: {method}")
        if method.startswith(CHANGING) and self._process.passes(f"on its way: {method}"):
            self._network.send(host, method, params, LATE_S)
            await asyncio.sleep(deadline_s)
        if not self._world.site.machines[host].powered:
            await asyncio.sleep(min(NO_ROUTE_S, deadline_s))
            raise TransportFailure(FailureKind.NO_HOST, f"{address}: no route", sent=False)
        if not self._world.reachable(host):
            await asyncio.sleep(0.001)
            raise TransportFailure(FailureKind.REFUSED, f"{address}: refused", sent=False)
        request = self._network.send(host, method, params)
        done, _ = await asyncio.wait([request], timeout=deadline_s)
        if not done:
            text = f"{address}: {method}: no answer in time"
            raise TransportFailure(FailureKind.TIMEOUT, text, sent=True)
        await self._carried_back(address, host, method)
        self._process.seam(f"answered: {method}")
        return _answer(request, address)

    async def _carried_back(self, address: str, host: str, method: str) -> None:
        about = {"host": host, "method": method.removeprefix("Async.")}
        slow = self._world.faults.active("slow", **about)
        if slow is not None:
            await asyncio.sleep(int(slow.scope["ms"]) / 1000)
        if self._world.faults.strike("answer-lost", **about) is not None:
            raise TransportFailure(FailureKind.RESET, f"{address}: cut", sent=True)

    async def close(self) -> None:
        self._process.seam("connections are let go")


def _answer(request: asyncio.Task[Value], address: str) -> JsonValue:
    try:
        return cast("JsonValue", request.result())
    except ApiError as error:
        raise XapiFailure(error.code, error.params) from None
    except Unreachable:
        raise TransportFailure(FailureKind.RESET, f"{address}: cut", sent=True) from None
