"""Everything that the databases of a world share: the servers, what really runs, time and chance."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Mapping
from typing import Any

from simulator.calls import Calls
from simulator.clock import Clock
from simulator.dispatch import Dispatch
from simulator.domains import Domains
from simulator.faults import FaultTable
from simulator.latency import Latencies
from simulator.machines import Machine, Machines
from simulator.pool import Guest, LogEntry, Pool
from simulator.spec import PoolSpec
from simulator.supply import Supply
from simulator.toolstacks import Toolstacks


class Site:
    """The one reality. ``reign`` is the newest database: of whoever became master last."""

    reign: Pool

    def __init__(self, spec: PoolSpec, clock: Clock, faults: FaultTable) -> None:
        self.spec = spec
        self.clock = clock
        self.faults = faults
        self.chance = random.Random(spec.seed)  # noqa: S311
        self.latencies = Latencies(self.chance, spec.latency)
        self.domains = Domains(host.name for host in spec.hosts)
        self.machines = Machines(faults)
        self.calls = Calls()
        self.guests: dict[str, Guest] = {}
        self.certificates: dict[str, str] = {}
        self.streams: list[tuple[str, str]] = []
        self.log: list[LogEntry] = []
        self.background: set[asyncio.Task[None]] = set()
        self.dispatch = Dispatch(self)
        self.toolstacks = Toolstacks(self)
        self.supply = Supply(self)

    @property
    def masters(self) -> list[Machine]:
        """The servers that take themselves for the master, up or not."""
        return [machine for machine in self.machines if machine.is_master]

    def settle(self) -> None:
        """Power, a toolstack, a role or the network changed: every master looks who is there."""
        for machine in self.machines:
            followed = self.machines[machine.master]
            if followed.is_master:
                machine.pool = followed.pool
        for master in self.masters:
            master.pool.links.settle()
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self.machines.tell()
        for master in self.masters:
            master.pool.db.wake_all()

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Let the world do something by itself; the job is held so that it is not collected."""
        job = asyncio.create_task(work)
        self.background.add(job)
        job.add_done_callback(self.background.discard)

    def by_address(self, address: str) -> Machine | None:
        """The server of that management address, if there is one."""
        found: Mapping[str, Machine] = {machine.address: machine for machine in self.machines}
        return found.get(address)
