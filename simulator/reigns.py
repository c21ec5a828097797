"""Whose database counts where: which server serves which one, or follows it."""

from __future__ import annotations

from simulator.machines import Machine
from simulator.pool import Pool
from simulator.site import Site


class Reigns:
    """``newest`` is the database of whoever became master last."""

    newest: Pool

    def __init__(self, site: Site) -> None:
        self.site = site
        self._followed: dict[str, Pool] = {}

    def of(self, machine: Machine) -> Pool:
        """The database that the server serves, or that of the master it last followed."""
        return self._followed[machine.name]

    def begin(self, master: Machine, pool: Pool) -> None:
        """The server serves this database from now on."""
        self._followed[master.name] = self.newest = pool

    def settle(self) -> None:
        """Power, a toolstack, a role or the network changed: every master looks who is there."""
        machines = self.site.machines
        for machine in machines:
            followed = machines[machine.master]
            if followed.is_master:
                self._followed[machine.name] = self.of(followed)
        for master in self.site.masters:
            self.of(master).links.settle()
        self.wake()

    def wake(self) -> None:
        """Let everybody who waits look again."""
        self.site.machines.tell()
        for master in self.site.masters:
            self.of(master).db.wake_all()
