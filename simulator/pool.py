"""One database of the pool and what its master needs to act on it: belief beside reality.

There is one such state for each master: usually one, two when a second master has come up, and a
new one whenever a server becomes master on its own copy of the database. Reality, in ``Site``, is
shared by them all. No behaviour of the API is here; ``operations`` and ``guests`` act on this state.

A master hears its slaves' heartbeats, and they fetch a copy of its database every so often. No timer
does that: a copy that is due is taken right before the next change of the database or of its
audience, which is the same and costs an idle pool nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from simulator import latency
from simulator.database import Copy, Database, Row
from simulator.machines import Machine
from simulator.messages import Messages
from simulator.site import Guest, Site
from simulator.spec import GuestSpec
from simulator.values import NULL, Value, handle_invalid


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


class Pool:
    """One database, its alerts, and by reference everything that all databases share.

    ``hosts`` is by name, of those that the database knows.
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


class Links:
    """The links of one database's master. ``heard`` holds the hosts it hears, itself included;
    ``last_copy`` is what slaves were last given, or could have been."""

    last_copy: Copy

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._machines = pool.site.machines
        self.heard: frozenset[str] = frozenset()
        self._served = True
        self._silent_since: dict[str, float] = {}
        self._leaving: set[str] = set()
        self._due = pool.clock.now() + pool.spec.db_sync_interval_s

    def settle(self) -> None:
        """Look again who is heard, and draw the conclusions."""
        self.copy_if_due()
        before, self.heard = self.heard, frozenset(self._hear())
        if not self.heard:
            self._silent_since.clear()
            return
        for name, host in self._pool.hosts.items():
            if name in self.heard:
                self._silent_since.pop(name, None)
                if name not in before:
                    self._heard_again(host)
            elif name not in self._silent_since:
                since = self._silent_since[name] = self._pool.clock.now()
                self._pool.site.in_background(self._watch(host, since))

    def close(self) -> None:
        """This database is served no more."""
        self._served = False
        self.heard = frozenset()
        self._silent_since.clear()

    def leaves(self, host: HostState) -> None:
        """It goes down in good order: not live, at once and until it says hello again."""
        self._leaving.add(host.name)
        self._pool.db.update(self._pool.metrics_of(host.row), live=False)

    def says_hello(self, host: HostState) -> None:
        """Its toolstack has started and joined."""
        self._leaving.discard(host.name)
        self._pool.db.update(self._pool.metrics_of(host.row), live=True)

    def copy_if_due(self) -> None:
        """The regular copy, if its time has come since the last change."""
        late = self._pool.clock.now() - self._due
        if late < 0:
            return
        interval = self._pool.spec.db_sync_interval_s
        rounds = int(late // interval)
        self._hand_out(self._due + rounds * interval)
        self._due += (rounds + 1) * interval

    def copy_now(self) -> None:
        """pool.sync_database: every slave that is heard takes a copy."""
        self.copy_if_due()
        self._hand_out(self._pool.clock.now())

    def _hand_out(self, moment: float) -> None:
        self.last_copy = self._pool.db.copy(moment)
        for name in self.heard:
            self._machines[name].copy = self.last_copy

    def _hear(self) -> list[str]:
        pool = self._pool
        master = self._machines[pool.master.name]
        serves = self._served and master.is_master and master.stashed is None
        if not (serves and self._machines.at_work(master)):
            return []
        return [name for name in pool.hosts if self._hears(master, self._machines[name])]

    def _hears(self, master: Machine, other: Machine) -> bool:
        if other is master:
            return True
        joined = other.master == master.name and other.stashed is None
        return joined and self._machines.hears(master, other)

    def _heard_again(self, host: HostState) -> None:
        """A heartbeat after silence without a restart: the flag follows."""
        if host.name not in self._leaving:
            self._pool.db.update(self._pool.metrics_of(host.row), live=True)

    async def _watch(self, host: HostState, since: float) -> None:
        """Ten minutes without a heartbeat, and the master marks the host as not live."""
        await self._pool.clock.sleep(latency.ASSUMED_DEAD_AFTER_S)
        if self._silent_since.get(host.name) == since:
            self._pool.db.update(self._pool.metrics_of(host.row), live=False)


def without(mapping: Mapping[str, Value], key: str) -> Mapping[str, Value]:
    """The map without one of its keys."""
    return {k: v for k, v in mapping.items() if k != key}
