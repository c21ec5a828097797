"""A simulated pool in the same process, and the transport that leads to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from simulator.clock import Clock
from simulator.spec import load_spec
from simulator.values import ApiError, Unreachable, Value
from simulator.world import World
from xapi.transport import (
    FailureKind,
    JsonValue,
    TransportFailure,
    XapiFailure,
)

XEN1 = "19e17c1a-5f57-482e-a974-03078926c84e"
XEN2 = "3235b6a9-8a54-46b9-b6c2-a9874a471f87"
XEN3 = "5b1f2f4d-3f0e-4a5c-9a43-0d9a1f6a7c11"
NFS = "32e33fd3-3b35-5356-db4b-705c67f4c203"
LOCAL2 = "0e0f1c9c-15f1-4a6a-8f0e-1a9b6f2f8d22"
LAN = "69150cc3-dd79-3f64-3a0d-c76330689acb"
DMZ = "8f1f5d0e-7c38-4a27-9e0b-2f4b5a6c7d33"
INNER = "1a2b3c4d-0000-4000-8000-00000000abcd"
WEB1 = "0d8c32ac-37a0-54e1-72ff-0f5518d3f789"
WEB2 = "71e4bad8-569f-558d-a8fa-a91e50d36457"
MUTE = "065c63f0-434c-b661-1114-f6dfca4f9d2d"
DEAF = "a3dfc4d4-d6e3-35eb-2266-7790ffc293a1"
ASLEEP = "24978475-e60b-cb41-397a-980181afd724"
POOL_UUID = "ee1fc617-30ba-8adf-da91-6d0220996c40"

POOL = f"""
pool: {{uuid: {POOL_UUID}, name: lab, seed: 7}}
users: {{root: secret}}
hosts:
  - {{name: xen1, uuid: {XEN1}, memory: 64GiB, cpus: 16}}
  - {{name: xen2, uuid: {XEN2}, memory: 64GiB, cpus: 16}}
  - {{name: xen3, uuid: {XEN3}, memory: 32GiB, cpus: 8}}
srs:
  - {{name: nfs, uuid: {NFS}, type: nfs}}
  - {{name: local2, uuid: {LOCAL2}, type: ext, shared: false, hosts: [xen2]}}
networks:
  - {{name: lan, uuid: {LAN}}}
  - {{name: dmz, uuid: {DMZ}, hosts: [xen1, xen2]}}
  - {{name: inner, uuid: {INNER}, hosts: []}}
vms:
  - {{name: web1, uuid: {WEB1}, host: xen1, memory: 4GiB, vcpus: 2, sr: nfs, network: lan,
      tags: [web]}}
  - {{name: web2, uuid: {WEB2}, memory: 4GiB, vcpus: 2, sr: nfs, network: dmz}}
  - {{name: mute, uuid: {MUTE}, host: xen2, memory: 1GiB, vcpus: 1, sr: nfs, network: lan,
      tools: false}}
  - {{name: deaf, uuid: {DEAF}, host: xen2, memory: 1GiB, vcpus: 1, sr: nfs, network: lan,
      guest: {{ignores_shutdown: true}}}}
  - {{name: asleep, uuid: {ASLEEP}, power_state: Suspended, memory: 1GiB, vcpus: 1, sr: nfs,
      network: lan}}
  - {{name: tmpl, uuid: 54c911a4-36f9-e191-2ac0-efd731e35021, memory: 1GiB, vcpus: 1, sr: nfs,
      network: lan, is_template: true}}
  - {{name: snap, uuid: 7e8f6abe-17d7-0800-1a48-12005f508afe, memory: 4GiB, vcpus: 2, sr: nfs,
      network: lan, snapshot_of: web1}}
"""

ADDRESSES = {"xen1": "127.77.0.1", "xen2": "127.77.0.2", "xen3": "127.77.0.3"}


def make_world() -> World:
    return World(load_spec(POOL), Clock(), ADDRESSES)


@dataclass(frozen=True)
class Asked:
    """One call as it went over the seam; the session's reference is left out of `params`."""

    address: str
    method: str
    params: tuple[JsonValue, ...]
    deadline_s: float


class WorldTransport:
    """`Transport` over a world in the same process, with the faults that strike the wire.

    As a real server, the world finishes what it began although the caller is gone.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[Asked] = []
        self._hosts = {address: name for name, address in ADDRESSES.items()}
        self._running: set[asyncio.Task[Value]] = set()

    def methods(self) -> list[str]:
        return [asked.method for asked in self.asked]

    def count(self, method: str) -> int:
        return self.methods().count(method)

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        self.asked.append(Asked(address, method, tuple(params), deadline_s))
        host = self._hosts[address]
        if not self.world.site.machines[host].powered:
            raise TransportFailure(FailureKind.NO_HOST, f"{address}: no route", sent=False)
        if not self.world.reachable(host):
            raise TransportFailure(FailureKind.REFUSED, f"{address}: refused", sent=False)
        try:
            async with asyncio.timeout(deadline_s):
                return await self._perform(host, method, params)
        except TimeoutError:
            text = f"{address}: {method}: no answer in time"
            raise TransportFailure(FailureKind.TIMEOUT, text, sent=True) from None
        except ApiError as error:
            raise XapiFailure(error.code, error.params) from None
        except Unreachable:
            raise TransportFailure(FailureKind.RESET, f"{address}: cut", sent=True) from None

    async def _perform(self, host: str, method: str, params: Sequence[JsonValue]) -> JsonValue:
        about = {"host": host, "method": method.removeprefix("Async.")}
        faults = self.world.faults
        while (hang := faults.active("api-hang", **about)) is not None:
            await hang.ended.wait()
        arguments = cast("Sequence[Value]", params)
        work = asyncio.create_task(self.world.call(host, method, arguments))
        self._running.add(work)
        work.add_done_callback(self._running.discard)
        await asyncio.wait([work])
        if faults.strike("answer-lost", **about) is not None:
            raise Unreachable("answer lost")
        return cast("JsonValue", work.result())

    async def close(self) -> None:
        self.asked.append(Asked("", "close", (), 0.0))


class Script:
    """A transport that answers from a table of functions, for failures no world brings about."""

    def __init__(self, **answers: Callable[[str], Any]) -> None:
        self.answers = {name.replace("__", "."): answer for name, answer in answers.items()}
        self.asked: list[tuple[str, str]] = []

    async def call(
        self, address: str, method: str, params: Sequence[JsonValue], deadline_s: float
    ) -> JsonValue:
        assert deadline_s > 0, (method, params)
        self.asked.append((address, method))
        await asyncio.sleep(0.01)
        answer = self.answers[method](address)
        if isinstance(answer, Exception):
            raise answer
        result: JsonValue = answer
        return result

    async def close(self) -> None:
        self.asked.append(("", "close"))


def sessions(world: World, originator: str = "cxm/0.1@tests") -> list[str]:
    """The references of our sessions that the pool still keeps."""
    rows = world.pool.db.rows("session")
    return [row.ref for row in rows if row.text("originator") == originator]
