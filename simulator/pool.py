"""One database of the pool and what its master needs to act on it: belief beside reality.

There is one such state for each master: usually one, two when a second master has come up, and a
new one whenever a server becomes master on its own copy of the database. Reality, in ``Site``, is
shared by them all. No behaviour of the API is here; ``operations`` and ``guests`` act on this state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.database import Database, Row
from simulator.links import Links
from simulator.machines import Machine
from simulator.messages import Messages
from simulator.spec import GuestSpec
from simulator.values import NULL, Value, handle_invalid

if TYPE_CHECKING:
    from simulator.site import Site


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


@dataclass(frozen=True, eq=False, slots=True)
class HostState:
    """A server as one database has it: the machine, and its record there."""

    pool: Pool
    machine: Machine
    row: Row

    @property
    def name(self) -> str:
        """Its name in the pool's file."""
        return self.machine.name

    @property
    def address(self) -> str:
        """The address of its management interface."""
        return self.machine.address

    @property
    def reachable(self) -> bool:
        """Whether the master of this database hears it."""
        return self.name in self.pool.links.heard


@dataclass(frozen=True, slots=True)
class Guest:
    """What is inside a VM; not a fact of the API."""

    behaviour: GuestSpec
    tools: bool


class Pool:
    """One database, its alerts, and by reference everything that all databases share.

    ``hosts`` is by name, of those that the database knows; ``guests`` by VM uuid;
    ``certificates`` (PEM) by host name; ``streams`` are the migrations that send memory now, as
    names of source and target.
    """

    def __init__(self, site: Site, db: Database) -> None:
        self.site = site
        self.db = db
        self.spec = site.spec
        self.clock = site.clock
        self.faults = site.faults
        self.chance = site.chance
        self.latencies = site.latencies
        self.domains = site.domains
        self.guests = site.guests
        self.certificates = site.certificates
        self.streams = site.streams
        self.log = site.log
        self.messages = Messages(db, self.clock)
        self.hosts: dict[str, HostState] = {}
        self.links = Links(self)
        db.before_change = self.links.copy_if_due

    def know(self, machine: Machine, row: Row) -> None:
        """The record of a server in this database."""
        self.hosts[machine.name] = HostState(self, machine, row)

    @property
    def row(self) -> Row:
        """The pool's own record."""
        return self.db.rows("pool")[0]

    @property
    def master(self) -> HostState:
        """The host that serves this database."""
        return self.host_of(self.row.text("master"))

    def host_of(self, ref: str) -> HostState:
        """The host of that reference; HANDLE_INVALID if there is none."""
        for host in self.hosts.values():
            if host.row.ref == ref:
                return host
        raise handle_invalid("host", ref)

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
