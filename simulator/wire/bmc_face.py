"""All fence devices of a simulated pool on the network, each as the world has it."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from simulator.bmc import Bmcs
from simulator.spec import BmcSpec, OutletSpec, PoolSpec
from simulator.wire.apc import Pdu
from simulator.wire.children import Agent, CannotPlay
from simulator.wire.ipmi import Controller
from simulator.wire.wires import Wires
from simulator.world import World

SOCKET = "bmc.sock"
_FOLDER = "bmc"
_AGAIN_S = 1.0


class Device(Protocol):
    """A program that plays one fence device, or several at one address."""

    @property
    def names(self) -> tuple[str, ...]:
        """Which."""

    def agents(self) -> Mapping[str, Agent]:
        """By name, how they are reached."""

    async def settle(self, bmcs: Bmcs) -> None:
        """Be as the world has it. Raises CannotPlay."""

    async def silence(self) -> None:
        """Be gone at once, with whatever was about to be said."""


def programs_for(spec: PoolSpec) -> int:
    """How many programs, each at an address of its own, play the pool's fence devices."""
    return len(_controllers(spec)) + len(_units(spec))


class BmcFace:
    """The wire side of a world's fence devices: as many as there are ``free`` addresses for them,
    all or none. Its socket and its files are in ``directory``."""

    def __init__(self, world: World, directory: Path, free: Iterable[tuple[str, int]]) -> None:
        self._bmcs = world.bmcs
        self._folder = directory.absolute() / _FOLDER
        wires = directory.absolute() / SOCKET
        self._wires = Wires(world.bmcs, wires, self._lose_reply)
        self._devices = _devices(world.pool.spec, list(free), self._folder, wires)
        self._changed = asyncio.Event()
        self._following: asyncio.Task[None] | None = None

    def agents(self) -> dict[str, Agent]:
        """By name, how each device is reached."""
        found: dict[str, Agent] = {}
        for device in self._devices:
            found |= device.agents()
        return {name: found[name] for name in self._bmcs.names() if name in found}

    async def open(self) -> None:
        """Bring up what lives, and follow the world from now on. Raises CannotPlay, OSError."""
        if not self._devices:
            return
        self._bmcs.watch(self._changed.set)
        await self._wires.open()
        await self._settle()
        self._following = asyncio.create_task(self._follow())

    async def end(self) -> None:
        """End all of it for good; idempotent."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        for device in self._devices:
            await device.silence()
        await self._wires.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _follow(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._settle()
            except (CannotPlay, OSError):
                # Another program has the port, or the machine is too busy: it may go again.
                await asyncio.sleep(_AGAIN_S)
                self._changed.set()

    async def _settle(self) -> None:
        await asyncio.gather(*(device.settle(self._bmcs) for device in self._devices))

    async def _lose_reply(self, name: str) -> None:
        device = next(device for device in self._devices if name in device.names)
        await device.silence()
        self._changed.set()


def _devices(
    spec: PoolSpec, free: Sequence[tuple[str, int]], folder: Path, wires: Path
) -> list[Device]:
    if not free:
        return []
    controllers, units = _controllers(spec), _units(spec)
    places = [(where, folder / str(number)) for number, where in enumerate(free)]
    devices: list[Device] = []
    for name, place in zip(controllers, places, strict=False):
        devices.append(Controller(name, *place, wires))
    for outlets, place in zip(units, places[len(controllers) :], strict=True):
        devices.append(Pdu(outlets, *place, wires))
    return devices


def _controllers(spec: PoolSpec) -> list[str]:
    return [bmc.name for bmc in spec.bmcs if isinstance(bmc, BmcSpec)]


def _units(spec: PoolSpec) -> list[list[OutletSpec]]:
    """The outlets, unit by unit."""
    outlets = [bmc for bmc in spec.bmcs if isinstance(bmc, OutletSpec)]
    names = dict.fromkeys(outlet.pdu for outlet in outlets)
    return [[outlet for outlet in outlets if outlet.pdu == name] for name in names]
