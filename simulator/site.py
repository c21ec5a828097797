"""Everything that the databases of a world share: the servers, what really runs, time and chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from simulator.clock import Clock
from simulator.domains import Domains
from simulator.faults import FaultTable
from simulator.latency import Latencies
from simulator.machines import Machine, Machines
from simulator.spec import GuestSpec, PoolSpec
from simulator.supply import Supply


@dataclass(slots=True)
class LogEntry:
    """A state-changing call. ``time`` is wall seconds; ``outcome`` is pending until it ends."""

    time: float
    host: str
    originator: str
    method: str
    cls: str
    uuid: str
    name: str
    outcome: str = "pending"


@dataclass(frozen=True, slots=True)
class Guest:
    """What is inside a VM; not a fact of the API."""

    behaviour: GuestSpec
    tools: bool


class Site:
    """The one reality. ``guests`` is by VM uuid; ``certificates`` (PEM) by host name; ``streams`` are
    the migrations that send memory now, as names of source and target."""

    def __init__(self, spec: PoolSpec, clock: Clock, faults: FaultTable) -> None:
        self.spec = spec
        self.clock = clock
        self.faults = faults
        self.chance = random.Random(spec.seed)  # noqa: S311
        self.latencies = Latencies(self.chance, spec.latency)
        self.domains = Domains(host.name for host in spec.hosts)
        self.machines = Machines(faults)
        self.supply = Supply(spec)
        self.guests: dict[str, Guest] = {}
        self.certificates: dict[str, str] = {}
        self.streams: list[tuple[str, str]] = []
        self.log: list[LogEntry] = []
        self._background: set[asyncio.Task[None]] = set()

    @property
    def masters(self) -> list[Machine]:
        """The servers that take themselves for the master, up or not."""
        return [machine for machine in self.machines if machine.is_master]

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the world do something by itself; the job is held so that it is not collected."""
        job = asyncio.create_task(work)
        self._background.add(job)
        job.add_done_callback(self._background.discard)

    def by_address(self, address: str) -> Machine | None:
        """The server of that management address, if there is one."""
        return {machine.address: machine for machine in self.machines}.get(address)
