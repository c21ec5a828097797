"""Hosts that go down and come back, and the comparison of belief and reality that follows."""

from simulator import devices, guests, latency, occupancy, sessions, tasks
from simulator.calls import Calls
from simulator.database import Row
from simulator.domains import Domain
from simulator.pool import HostState, Pool
from simulator.values import NULL


class Hosts:
    """Switches the hosts of a pool."""

    def __init__(self, pool: Pool, calls: Calls) -> None:
        self._pool = pool
        self._calls = calls

    def power_off(self, host: HostState) -> None:
        """Pull the plug: nothing runs there any more, and the database does not know it."""
        if not host.powered:
            return
        host.powered = False
        self._toolstack_ends(host)
        self._pool.domains.clear(host.name)

    def power_on(self, host: HostState) -> None:
        """Press the button: the host boots, then its toolstack starts. It runs nothing."""
        if host.powered:
            return
        host.powered = True
        host.toolstack = False
        self._pool.domains.boot(host.name)
        guests.in_background(self._pool, self._boot(host))

    def stop_toolstack(self, host: HostState) -> None:
        """The API of this host goes away; what runs on it runs on."""
        if host.reachable:
            self._toolstack_ends(host)

    def start_toolstack(self, host: HostState) -> None:
        """The toolstack is back and compares what it finds."""
        if host.powered and not host.toolstack:
            host.toolstack = True
            self._resync(host)

    async def restart_toolstack(self, host: HostState) -> None:
        """Down and, after the usual time, up again."""
        self.stop_toolstack(host)
        await self._pool.clock.work(self._pool.latencies.draw("restart"))
        self.start_toolstack(host)

    async def _boot(self, host: HostState) -> None:
        await self._pool.clock.work(self._pool.latencies.draw("host_boot"))
        host.booted_at = self._pool.clock.wall()
        self.start_toolstack(host)

    def _toolstack_ends(self, host: HostState) -> None:
        was_master = host is self._pool.master
        host.toolstack = False
        host.local_sessions.clear()
        self._calls.host_lost(host)
        if was_master:
            sessions.forget_all(self._pool)
            tasks.forget_all(self._pool)
        else:
            guests.in_background(self._pool, self._watch(host))
        self._pool.db.wake_all()

    async def _watch(self, host: HostState) -> None:
        """Ten minutes without a heartbeat, and the master marks the host as not live."""
        await self._pool.clock.sleep(latency.ASSUMED_DEAD_AFTER_S)
        if not host.reachable:
            self._pool.db.update(self._pool.metrics_of(host.row), live=False)

    def _resync(self, host: HostState) -> None:
        pool = self._pool
        pool.db.update(host.row, enabled=False, other_config=self._times(host))
        pool.db.update(pool.metrics_of(host.row), live=True)
        if host is pool.master:
            for row in [*pool.db.rows("VM"), *pool.db.rows("host")]:
                pool.db.update(row, current_operations={})
        for vm in pool.db.rows("VM"):
            if host is pool.master or vm.text("scheduled_to_be_resident_on") == host.row.ref:
                pool.db.update(vm, scheduled_to_be_resident_on=NULL)
        self._compare(host)
        if host is pool.master:
            self._hear_of_the_others(host)
        pool.db.update(host.row, enabled=True)

    def _times(self, host: HostState) -> dict[str, str]:
        start = f"{int(self._pool.clock.wall())}."
        kept = host.row.map("other_config")
        return {**kept, "agent_start_time": start, "boot_time": f"{int(host.booted_at)}."}

    def _compare(self, host: HostState) -> None:
        pool = self._pool
        for vm in pool.residents(host.row):
            if pool.domains.get(host.name, vm.text("uuid")) is None:
                devices.unlock(pool, vm, host.row)
                guests.show_halted(pool, vm)
        known = {vm.text("uuid"): vm for vm in pool.db.rows("VM")}
        for domain in pool.domains.on(host.name):
            self._judge(host, domain, known.get(domain.vm_uuid))

    def _hear_of_the_others(self, master: HostState) -> None:
        """What ended on other hosts while no master took the news."""
        pool = self._pool
        for host in pool.hosts.values():
            if host is master or not host.reachable:
                continue
            for vm in pool.residents(host.row):
                if not pool.domains.running(vm.text("uuid")):
                    devices.unlock(pool, vm, host.row)
                    guests.show_halted(pool, vm)

    def _judge(self, host: HostState, domain: Domain, vm: Row | None) -> None:
        """Placed here: believed. Placed nowhere: adopted. Placed elsewhere or unknown: ended."""
        pool = self._pool
        resident = vm.text("resident_on") if vm else ""
        suspended = vm is not None and vm.text("power_state") == "Suspended"
        if vm is None or domain.incoming or suspended or resident not in (NULL, host.row.ref):
            pool.domains.destroy(host.name, domain.vm_uuid)
            return
        if resident == NULL:
            devices.attach(pool, vm, "")
            devices.settle(pool, vm)
            guests.show_running(pool, vm, host, domain.paused)
            guests.show_domain(pool, vm, host, domain)
            guests.announce(pool, vm)
        state = "Paused" if domain.paused else "Running"
        pool.db.update(vm, power_state=state, domid=domain.domid)
        occupancy.refresh(pool, vm)
