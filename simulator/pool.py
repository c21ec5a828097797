"""The state of a simulated pool: belief and reality side by side, and the switches of its hosts.

No behaviour of the API is here; ``operations`` and ``guests`` act on this state.
"""

import asyncio
import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.clock import Clock
from simulator.database import Database, Row
from simulator.domains import Domains
from simulator.faults import FaultTable
from simulator.latency import Latencies
from simulator.messages import Messages
from simulator.spec import GuestSpec, PoolSpec
from simulator.values import NULL, Value


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


@dataclass(slots=True)
class HostState:
    """A server: whether it has power, and whether its toolstack answers."""

    name: str
    uuid: str
    address: str
    row: Row
    powered: bool = True
    toolstack: bool = True
    booted_at: float = 0.0
    local_sessions: set[str] = field(default_factory=set)

    @property
    def reachable(self) -> bool:
        """Whether its API answers at all."""
        return self.powered and self.toolstack


@dataclass(frozen=True, slots=True)
class Guest:
    """What is inside a VM; not a fact of the API."""

    behaviour: GuestSpec
    tools: bool


class Pool:
    """Everything there is.

    ``guests`` is by VM uuid, ``hosts`` by name with the master first; ``certificates`` (PEM) is by
    host name; ``streams`` are the migrations that send memory now, as names of source and target.
    """

    def __init__(self, spec: PoolSpec, clock: Clock, faults: FaultTable) -> None:
        self.spec = spec
        self.clock = clock
        self.faults = faults
        self.chance = random.Random(spec.seed)  # noqa: S311
        self.latencies = Latencies(self.chance, spec.latency)
        self.db = Database(self.chance, clock)
        self.domains = Domains(host.name for host in spec.hosts)
        self.messages = Messages(self.db, clock)
        self.hosts: dict[str, HostState] = {}
        self.guests: dict[str, Guest] = {}
        self.certificates: dict[str, str] = {}
        self.streams: list[tuple[str, str]] = []
        self.log: list[LogEntry] = []
        self.background: set[asyncio.Task[None]] = set()

    @property
    def row(self) -> Row:
        """The pool's own record."""
        return self.db.rows("pool")[0]

    @property
    def master(self) -> HostState:
        """The host that serves the API."""
        return self.host_of(self.row.text("master"))

    def host_of(self, ref: str) -> HostState:
        """The host of that reference; HANDLE_INVALID if there is none."""
        row = self.db.row("host", ref)
        return next(host for host in self.hosts.values() if host.row is row)

    def metrics_of(self, host: Row) -> Row:
        """The host's host_metrics."""
        return self.db.row("host_metrics", host.text("metrics"))

    def is_live(self, host: Row) -> bool:
        """What the database believes of the host."""
        return self.metrics_of(host).flag("live")

    def guest_of(self, vm: Row) -> Guest:
        """What is inside the VM; one that was created by a call behaves as usual, with tools."""
        return self.guests.get(vm.text("uuid"), Guest(GuestSpec(), tools=True))

    def residents(self, host: Row) -> list[Row]:
        """The VMs, without dom0, that the database places on the host."""
        return [
            vm
            for vm in self.db.referred(host, "resident_VMs", "VM")
            if not vm.flag("is_control_domain")
        ]

    def host_name_of(self, vm: Row) -> str:
        """The name of the host where the database places the VM; empty if nowhere."""
        ref = vm.text("resident_on")
        return "" if ref == NULL else self.host_of(ref).name


def without(mapping: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    """The map without one of its keys."""
    return {k: v for k, v in mapping.items() if k != key}
