"""A small pool in virtual time, and a client that speaks to it in-process."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from simulator.clock import Clock, VirtualTimeLoop
from simulator.spec import load_spec
from simulator.values import ApiError, Value
from simulator.world import World

POOL = """
pool: {uuid: ee1fc617-30ba-8adf-da91-6d0220996c40, name: lab, seed: 7}
users: {root: secret}
hosts:
  - {name: xen1, uuid: 19e17c1a-5f57-482e-a974-03078926c84e, memory: 64GiB, cpus: 16}
  - {name: xen2, uuid: 3235b6a9-8a54-46b9-b6c2-a9874a471f87, memory: 64GiB, cpus: 16}
  - {name: xen3, uuid: 5b1f2f4d-3f0e-4a5c-9a43-0d9a1f6a7c11, memory: 32GiB, cpus: 8}
srs:
  - {name: nfs, uuid: 32e33fd3-3b35-5356-db4b-705c67f4c203, type: nfs}
  - {name: local2, uuid: 0e0f1c9c-15f1-4a6a-8f0e-1a9b6f2f8d22, type: ext, shared: false, hosts: [xen2]}
networks:
  - {name: lan, uuid: 69150cc3-dd79-3f64-3a0d-c76330689acb}
  - {name: dmz, uuid: 8f1f5d0e-7c38-4a27-9e0b-2f4b5a6c7d33, hosts: [xen1, xen2]}
  - {name: inner, uuid: 1a2b3c4d-0000-4000-8000-00000000abcd, hosts: []}
vms:
  - {name: web1, uuid: 0d8c32ac-37a0-54e1-72ff-0f5518d3f789, host: xen1, memory: 4GiB, vcpus: 2,
     sr: nfs, network: lan, tags: [web]}
  - {name: web2, uuid: 71e4bad8-569f-558d-a8fa-a91e50d36457, memory: 4GiB, vcpus: 2, sr: nfs,
     network: dmz}
  - {name: tied, uuid: 982cf8c6-f834-5415-1664-f5d93f1cb4b7, memory: 2GiB, vcpus: 1, sr: local2,
     network: lan}
  - {name: mute, uuid: 065c63f0-434c-b661-1114-f6dfca4f9d2d, host: xen2, memory: 1GiB, vcpus: 1,
     sr: nfs, network: lan, tools: false}
  - {name: deaf, uuid: a3dfc4d4-d6e3-35eb-2266-7790ffc293a1, host: xen2, memory: 1GiB, vcpus: 1,
     sr: nfs, network: lan, guest: {ignores_shutdown: true}}
  - {name: asleep, uuid: 24978475-e60b-cb41-397a-980181afd724, power_state: Suspended,
     memory: 1GiB, vcpus: 1, sr: nfs, network: lan}
  - {name: tmpl, uuid: 54c911a4-36f9-e191-2ac0-efd731e35021, memory: 1GiB, vcpus: 1, sr: nfs,
     network: lan, is_template: true}
  - {name: snap, uuid: 7e8f6abe-17d7-0800-1a48-12005f508afe, memory: 4GiB, vcpus: 2, sr: nfs,
     network: lan, snapshot_of: web1}
"""
ADDRESSES = {"xen1": "127.77.0.1", "xen2": "127.77.0.2", "xen3": "127.77.0.3"}


class Client:
    """A logged-in client of a master, the first one unless told otherwise."""

    def __init__(self, world: World, at: str = "xen1") -> None:
        self.world = world
        self.at = at
        self.session = ""

    async def login(self) -> "Client":
        args = ["root", "secret", "2.21", "tests"]
        answer = await self.world.call(self.at, "session.login_with_password", args)
        assert isinstance(answer, str)
        self.session = answer
        return self

    async def call(self, method: str, *args: Value) -> Any:
        return await self.world.call(self.at, method, [self.session, *args])

    async def refused(self, method: str, *args: Value) -> list[str]:
        """The error of a call that has to fail."""
        with pytest.raises(ApiError) as caught:
            await self.call(method, *args)
        return caught.value.description

    async def vm(self, name: str) -> str:
        found = await self.call("VM.get_by_name_label", name)
        assert len(found) == 1, (name, found)
        return str(found[0])

    async def record(self, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self.call("VM.get_record", await self.vm(name))
        return answer

    def host(self, name: str) -> str:
        return self.world.pool.hosts[name].row.ref

    async def finished(self, task: str) -> dict[str, Any]:
        """The task's record when it is no longer pending."""
        while True:
            record: dict[str, Any] = await self.call("task.get_record", task)
            if record["status"] != "pending":
                return record
            await self.world.pool.clock.sleep(0.5)


def pytest_asyncio_loop_factories() -> dict[str, Any]:
    """Every test of this folder runs in virtual time."""
    return {"virtual": VirtualTimeLoop}


def make_world(text: str = POOL) -> World:
    """A fresh world; needs a running loop."""
    return World(load_spec(text), Clock(), ADDRESSES)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = make_world()
    crashes: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context))
    yield made
    assert crashes == []


@pytest.fixture
async def client(world: World) -> Client:
    return await Client(world).login()
