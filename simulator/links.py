"""Whom a master hears: heartbeats, the flag ``live``, and the copies of its database.

Slaves fetch a copy every so often. No timer does it: a copy that is due is taken right before the
next change of the database or of its audience, which is the same and costs an idle pool nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from simulator import latency
from simulator.database import Copy
from simulator.machines import Machine

if TYPE_CHECKING:
    from simulator.pool import HostState, Pool


class Links:
    """The links of one database's master. ``heard`` holds the hosts it hears, itself included;
    ``last_copy`` is what slaves were last given, or could have been."""

    last_copy: Copy

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._machines = pool.site.machines
        self.heard: frozenset[str] = frozenset()
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
        serves = master.is_master and master.pool is pool and master.stashed is None
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
