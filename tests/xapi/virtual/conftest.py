"""A client of a pool in the same process; every test here runs in virtual time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from reconciler.messages import PoolLost, PoolObserved
from simulator.clock import VirtualTimeLoop
from simulator.world import World
from tests.xapi.inprocess import ADDRESSES, WorldTransport, make_world
from xapi.pool import PoolClient


def pytest_asyncio_loop_factories() -> dict[str, Any]:
    return {"virtual": VirtualTimeLoop}


@pytest.fixture
async def world() -> World:
    return make_world()


@pytest.fixture
async def transport(world: World) -> WorldTransport:
    return WorldTransport(world)


class Watched:
    """A pool client whose `run` is under way, and everything that it published."""

    def __init__(self, client: PoolClient) -> None:
        self.client = client
        self.published: list[PoolObserved | PoolLost] = []
        self.task = asyncio.create_task(client.run(self.published.append))

    @property
    def latest(self) -> PoolObserved | PoolLost:
        return self.published[-1]

    async def seen(self, count: int = 1) -> PoolObserved:
        """The newest picture once `count` more were published."""
        enough = len(self.pictures()) + count
        while len(self.pictures()) < enough:
            await asyncio.sleep(0.05)
        return self.pictures()[-1]

    def pictures(self) -> list[PoolObserved]:
        return [told for told in self.published if isinstance(told, PoolObserved)]

    def losses(self) -> list[PoolLost]:
        return [told for told in self.published if isinstance(told, PoolLost)]

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await self.client.close()


def make_client(transport: WorldTransport, password: str = "secret") -> PoolClient:
    return PoolClient(
        transport,
        list(ADDRESSES.values()),
        "root",
        password,
        "tests",
        "0.1",
        clock=transport.world.pool.clock.wall,
        jitter=random.Random(1),
    )


@pytest.fixture
async def watched(transport: WorldTransport) -> AsyncIterator[Watched]:
    watching = Watched(make_client(transport))
    await watching.seen()
    yield watching
    await watching.end()
