"""Servers that go down and come up, and the roles that their toolstacks take.

A role is kept on the server's disk and taken at the next start of its toolstack. A master asks the
others first whether one of them is master by now; alone, it carries on. A slave asks its master to
be let in and is in emergency mode until it is.
"""

from __future__ import annotations

from simulator import autostart, devices, latency, resync, sessions, tasks
from simulator.calls import Call, Calls
from simulator.database import Copy, Database
from simulator.dispatch import Dispatch
from simulator.machines import Machine
from simulator.pool import Pool
from simulator.values import ApiError

STILL_BOOTING = ApiError("HOST_STILL_BOOTING")
NO_ANSWER = ApiError("INTERNAL_ERROR", 'Unix.Unix_error(Unix.ECONNREFUSED, "connect", "")')


class Toolstacks:
    """Switches the servers of a site."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._reigns = calls.reigns
        self._site = calls.reigns.site

    # --- power ------------------------------------------------------------------------------------

    def press(self, host: str, on: bool) -> None:
        """The host's own switch: off at once; on, where electricity reaches it."""
        machine = self._site.machines[host]
        if not on:
            self.power_off(machine)
        elif self._site.supply.has_power(host):
            self.power_on(machine)

    def power_off(self, machine: Machine) -> None:
        """Pull the plug: nothing runs there any more, and no database knows it."""
        if not machine.powered:
            return
        site = self._site
        machine.powered = False
        machine.boots += 1
        site.domains.clear(machine.name)
        stranded = self._calls.power_lost(machine)
        self._toolstack_ended(machine)
        # Without power nothing hangs any more.
        site.faults.stop_all("hang", host=machine.name)
        for call in stranded:
            site.in_background(self._give_up(call))

    def power_on(self, machine: Machine) -> None:
        """Press the button: the server boots, then its toolstack starts. It runs nothing."""
        if machine.powered:
            return
        machine.powered = True
        machine.toolstack = False
        self._site.domains.boot(machine.name)
        if self._site.faults.active("boot-fail", host=machine.name) is None:
            self._site.in_background(self._boot(machine))
        self._reigns.settle()

    async def _boot(self, machine: Machine) -> None:
        boots = machine.boots
        await self._site.clock.work(self._site.latencies.draw("host_boot"))
        if machine.boots == boots:
            machine.booted_at = self._site.clock.wall()
            await self._come_up(machine, latency.STILL_BOOTING_S, booted=True)

    async def _give_up(self, call: Call) -> None:
        await self._site.clock.sleep(self._site.latencies.draw_tcp_patience())
        call.interrupt(call.no_contact())

    # --- toolstack --------------------------------------------------------------------------------

    def stop(self, machine: Machine) -> None:
        """The API of this server goes away; what runs on it runs on."""
        if machine.up:
            self._calls.toolstack_lost(machine)
            self._toolstack_ended(machine)

    def start(self, machine: Machine) -> None:
        """The toolstack is back at once."""
        if machine.powered and not machine.toolstack:
            machine.toolstack = True
            self._begin(machine, booted=False)

    async def restart(self, machine: Machine) -> None:
        """Down and, after the usual time, up again."""
        self.stop(machine)
        epoch, total = machine.epoch, self._site.latencies.draw("restart")
        booting = min(latency.STILL_BOOTING_S, total / 2)
        await self._site.clock.work(total - booting)
        if machine.epoch == epoch:
            await self._come_up(machine, booting, booted=False)

    async def _come_up(self, machine: Machine, booting_s: float, *, booted: bool) -> None:
        """The port is open for a while before anything is answered."""
        if not machine.powered or machine.toolstack:
            return
        epoch = machine.epoch
        machine.toolstack, machine.stashed = True, STILL_BOOTING
        self._reigns.settle()
        await self._site.clock.work(booting_s)
        if machine.epoch == epoch:
            self._begin(machine, booted=booted)

    def _begin(self, machine: Machine, *, booted: bool) -> None:
        """Take the role and, in it, compare what there is."""
        self._take_role(machine)
        if machine.is_master:
            machine.stashed = None
            self._reign(machine, booted)
        else:
            machine.stashed = STILL_BOOTING
            self._join(machine, booted)

    def roll_back(self, master: Machine) -> None:
        """The master goes down, and its database becomes what it was at the last regular copy."""
        self.stop(master)
        self._found(master, self._reigns.of(master).links.last_copy)

    def _toolstack_ended(self, machine: Machine) -> None:
        was_up = machine.toolstack
        machine.toolstack = False
        machine.stashed = None
        machine.epoch += 1
        machine.local_sessions.clear()
        if machine.is_master and was_up:
            sessions.forget_all(self._reigns.of(machine))
            tasks.forget_all(self._reigns.of(machine))
        self._reigns.settle()

    # --- roles ------------------------------------------------------------------------------------

    def become_master(self, machine: Machine) -> None:
        """The order to be master from the next start on, which follows by itself."""
        machine.appointed = machine.name
        self._site.in_background(self._restart_by_fuse(machine))

    def become_slave(self, machine: Machine, master: Machine) -> None:
        """The order to follow that master; nothing if it does so already."""
        if machine.appointed != master.name:
            machine.appointed = master.name
            self._site.in_background(self._restart_by_fuse(machine))

    async def _restart_by_fuse(self, machine: Machine) -> None:
        epoch = machine.epoch
        await self._site.clock.work(latency.FUSE_S)
        if machine.epoch == epoch and machine.up:
            await self.restart(machine)

    def _take_role(self, machine: Machine) -> None:
        if machine.appointed == machine.name and not machine.is_master:
            self._found(machine, machine.copy)
        elif machine.appointed == machine.name:
            other = self._other_master(machine)
            machine.appointed = other.name if other else machine.name
        if machine.is_master and machine.appointed != machine.name:
            served = self._reigns.of(machine)
            machine.copy = served.db.copy(self._site.clock.now())
            served.links.close()
        machine.master = machine.appointed

    def _other_master(self, machine: Machine) -> Machine | None:
        """A server that says it is master by now, among those that this one knows and hears."""
        for other in self._site.masters:
            known = other is not machine and other.name in self._reigns.of(machine).hosts
            if known and other.stashed is None and self._site.machines.hears(machine, other):
                return other
        return None

    def _found(self, machine: Machine, copy: Copy) -> None:
        """A database of its own for the machine, as the copy has it."""
        site = self._site
        before = self._reigns.of(machine)
        pool = Pool(site, Database.restored(copy, site.chance, site.clock))
        pool.log = before.log
        pool.messages.go_on_after(before.messages)
        for row in pool.db.rows("host"):
            for known in site.machines:
                if known.uuid == row.text("uuid"):
                    pool.know(known, row)
        if machine.is_master:
            before.links.close()
        self._reigns.begin(machine, pool)
        pool.db.update(pool.row, master=pool.hosts[machine.name].row.ref)
        resync.settle_copy(pool)
        pool.links.copy_now()

    def _reign(self, machine: Machine, booted: bool) -> None:
        self._reigns.settle()
        host = self._reigns.of(machine).hosts[machine.name]
        if booted:
            devices.plug_at_boot(host.pool, host)
        resync.begin_reign(host, self._calls)
        self._reigns.settle()
        if booted:
            autostart.begin(host, Dispatch(self._calls))

    # --- joining ----------------------------------------------------------------------------------

    def _join(self, machine: Machine, booted: bool) -> None:
        master = self._site.machines[machine.master]
        refusal = self._refusal(machine, master)
        if refusal is not None:
            machine.stashed = refusal
            self._reigns.settle()
            self._site.in_background(self._join_later(machine, booted))
            return
        machine.stashed = None
        self._reigns.settle()
        host = self._reigns.of(machine).hosts[machine.name]
        if booted:
            devices.plug_at_boot(host.pool, host)
        resync.hello(host, self._calls)
        self._reigns.settle()
        if booted:
            autostart.begin(host, Dispatch(self._calls))

    async def _join_later(self, machine: Machine, booted: bool) -> None:
        """Emergency mode: try again and again. Nothing can have changed unless something did."""
        epoch = machine.epoch
        master = self._site.machines[machine.master]
        while machine.epoch == epoch and self._refusal(machine, master) is not None:
            await self._site.machines.changed()
        await self._site.clock.work(latency.EMERGENCY_RETRY_S)
        if machine.epoch == epoch:
            self._join(machine, booted)

    def _refusal(self, machine: Machine, master: Machine) -> ApiError | None:
        """Why the master does not let it in; None if it does."""
        machines = self._site.machines
        if not (machines.hears(machine, master) and machines.at_work(machine)):
            return NO_ANSWER
        if master.stashed is not None:
            return master.stashed
        if not master.is_master:
            return ApiError("HOST_IS_SLAVE", machines[master.master].address)
        if machine.name not in self._reigns.of(master).hosts:
            return ApiError("HOST_UNKNOWN_TO_MASTER", machine.uuid)
        return None
