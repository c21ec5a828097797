"""Composes a served simulator: pool file, world, one listener per host, control socket.

``simulation`` is for programs that want a pool beside them (tests, the demo); ``serve`` is the
process behind ``cxm sim``, which runs until it is told to stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.clock import Clock
from simulator.control import MAX_SOCKET_PATH, Control
from simulator.spec import PoolSpec, SpecError, load_spec
from simulator.values import DateTime
from simulator.wire import loopback
from simulator.wire.bmc_face import BmcFace, programs_for
from simulator.wire.certificates import Identity, identity
from simulator.wire.children import Agent, CannotPlay
from simulator.wire.face import Face
from simulator.wire.listener import Listener
from simulator.world import World

CONTROL = "sim.sock"


class CannotServe(Exception):
    """The pool cannot be served; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class ServedHost:
    """Where a host answers, and the SHA-256 fingerprint (``AA:BB:…``) of what it shows there."""

    name: str
    uuid: str
    url: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Simulation:
    """A simulator that is up. The first host is the pool's master. ``bmcs`` says, by the names of
    the fence devices, by which agent they are reached; it is empty where none was asked for."""

    world: World
    hosts: tuple[ServedHost, ...]
    bmcs: Mapping[str, Agent]
    control: Path

    def ready(self) -> dict[str, Any]:
        """What the ready file holds; ``pool`` is the pool's uuid."""
        return {
            "pool": self.world.pool.spec.uuid,
            "hosts": [
                {"name": h.name, "uuid": h.uuid, "url": h.url, "fingerprint": h.fingerprint}
                for h in self.hosts
            ],
            "bmcs": [
                {
                    "name": name,
                    "host": self.world.bmcs.spec(name).host,
                    "agent": agent.name,
                    "options": dict(agent.options),
                }
                for name, agent in self.bmcs.items()
            ],
            "control": str(self.control),
        }


@asynccontextmanager
async def simulation(
    spec_path: Path, directory: Path, port: int, speed: float, *, bmcs: bool = False
) -> AsyncIterator[Simulation]:
    """A served pool while the block runs. ``directory`` keeps certificates and control socket;
    ``port`` 0 takes a free one; ``speed`` divides operation latencies; ``bmcs`` puts the fence
    devices on the network, too. Raises CannotServe."""
    spec = _read(spec_path)
    control_path = _control_path(directory)
    block = _reserved(len(spec.hosts) + (programs_for(spec) if bmcs else 0), port)
    addresses = dict(zip((host.name for host in spec.hosts), block.addresses, strict=False))
    shown = {name: identity(directory / "tls", name, at) for name, at in addresses.items()}
    world = _world(spec, speed, addresses)
    _install(world, shown)
    listeners = {
        name: Listener(world, name, at, block.port, shown[name]) for name, at in addresses.items()
    }
    free = map(block.hand_over, block.addresses[len(spec.hosts) :])
    bmc_face = BmcFace(world, directory, free)
    parts = (Face(world, listeners), bmc_face, Control(world, control_path))
    try:
        try:
            for part in parts:
                await part.open()
        except (OSError, CannotPlay) as error:
            raise CannotServe(f"cannot listen: {error}") from None
        served = _served(spec, addresses, block.port, shown)
        yield Simulation(world, served, bmc_face.agents(), control_path)
    finally:
        for part in reversed(parts):
            await part.end()
        block.release()


def _reserved(count: int, port: int) -> loopback.Block:
    try:
        return loopback.reserve(count, port)
    except loopback.NoFreeBlock as error:
        raise CannotServe(str(error)) from None


async def serve(
    spec_path: Path,
    directory: Path | None,
    port: int,
    ready_file: Path | None,
    speed: float,
    announce: Callable[[Mapping[str, Any]], None],
    *,
    bmcs: bool = False,
) -> None:
    """Serve until SIGTERM or SIGINT, with ``bmcs`` the fence devices, too. ``announce`` is told once
    every host answers, after the ready file is in its place. Without ``directory`` a temporary one is
    used. Raises CannotServe."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with _directory(directory) as folder, _announced(ready_file) as write:
        async with simulation(spec_path, folder, port, speed, bmcs=bmcs) as running:
            ready = running.ready()
            write(ready)
            announce(ready)
            await stop.wait()


def _read(path: Path) -> PoolSpec:
    try:
        return load_spec(path.read_text(encoding="utf-8"))
    except (SpecError, OSError, UnicodeDecodeError) as error:
        raise CannotServe(f"{path}: {error}") from None


def _world(spec: PoolSpec, speed: float, addresses: Mapping[str, str]) -> World:
    try:
        return World(spec, Clock.real(speed), addresses)
    except ValueError as error:  # a latency of an operation that does not exist
        raise CannotServe(f"pool {spec.name}: {error}") from None


def _control_path(directory: Path) -> Path:
    path = directory.absolute() / CONTROL
    if len(os.fsencode(path)) > MAX_SOCKET_PATH:
        raise CannotServe(
            f"{path} is too long for a socket ({MAX_SOCKET_PATH} bytes); choose a shorter --dir"
        )
    directory.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    if wanted is not None:
        yield wanted
        return
    with tempfile.TemporaryDirectory(prefix="cxm-sim-") as made:
        yield Path(made)


def _served(
    spec: PoolSpec, addresses: Mapping[str, str], port: int, shown: Mapping[str, Identity]
) -> tuple[ServedHost, ...]:
    return tuple(
        ServedHost(
            host.name,
            host.uuid,
            f"https://{addresses[host.name]}:{port}",
            shown[host.name].fingerprint_sha256,
        )
        for host in spec.hosts
    )


def _install(world: World, shown: Mapping[str, Identity]) -> None:
    """Let the pool's records tell of the certificates that its hosts show."""
    pool = world.pool
    for name, certificate in shown.items():
        pool.certificates[name] = certificate.pem
        pool.db.insert(
            "Certificate",
            type="host",
            host=pool.hosts[name].row.ref,
            not_before=DateTime.at(certificate.not_before.timestamp()),
            not_after=DateTime.at(certificate.not_after.timestamp()),
            fingerprint=certificate.fingerprint_sha256,
            fingerprint_sha256=certificate.fingerprint_sha256,
            fingerprint_sha1=certificate.fingerprint_sha1,
        )
    pool.links.copy_now()


@contextmanager
def _announced(path: Path | None) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Writes the ready file, which is there only while the simulator is: whoever waits for it must
    not read that of an earlier run, and whoever sees it sees all of it."""

    def write(ready: Mapping[str, Any]) -> None:
        if path is not None:
            part = path.with_name(path.name + ".part")
            part.write_text(json.dumps(ready, indent=2) + "\n", encoding="utf-8")
            part.replace(path)

    if path is not None:
        path.unlink(missing_ok=True)
    try:
        yield write
    finally:
        if path is not None:
            path.unlink(missing_ok=True)
