"""A toolstack that has started compares what the database believes with what runs on its server."""

from simulator import devices, guests, occupancy
from simulator.calls import Calls
from simulator.database import Row
from simulator.domains import Domain
from simulator.pool import HostState, Pool
from simulator.values import NULL

ENABLED_AFTER_S = 1.0


def hello(host: HostState, calls: Calls) -> None:
    """The host joins: disabled and live at first, its VMs compared, a second later enabled."""
    pool = host.pool
    pool.db.update(host.row, enabled=False, current_operations={}, other_config=_times(pool, host))
    host.machine.comparing = True
    pool.links.says_hello(host)
    calls.abort_at(host.machine)
    for vm in pool.db.rows("VM"):
        if vm.text("scheduled_to_be_resident_on") == host.row.ref:
            pool.db.update(vm, scheduled_to_be_resident_on=NULL)
    _compare(host)
    pool.site.in_background(_enable(host))


def begin_reign(master: HostState, calls: Calls) -> None:
    """What a master does when its toolstack starts: no operation of before is under way."""
    pool = master.pool
    for row in [*pool.db.rows("VM"), *pool.db.rows("host")]:
        pool.db.update(row, current_operations={})
    for vm in pool.db.rows("VM"):
        pool.db.update(vm, scheduled_to_be_resident_on=NULL)
    hello(master, calls)
    _hear_of_the_others(master)


def settle_copy(pool: Pool) -> None:
    """Half of a start or a stop may be in a copy: nothing of a VM that does not run is plugged."""
    for vm in pool.db.rows("VM"):
        pool.db.update(vm, current_operations={})
        if vm.text("power_state") in ("Halted", "Suspended"):
            devices.detach(pool, vm)
        devices.settle(pool, vm)
        occupancy.refresh(pool, vm)


async def _enable(host: HostState) -> None:
    machine, epoch = host.machine, host.machine.epoch
    await host.pool.clock.work(ENABLED_AFTER_S)
    if machine.epoch == epoch:
        machine.comparing = False
        host.pool.db.update(host.row, enabled=True)


def _times(pool: Pool, host: HostState) -> dict[str, str]:
    start = f"{int(pool.clock.wall())}."
    kept = host.row.map("other_config")
    return {**kept, "agent_start_time": start, "boot_time": f"{int(host.machine.booted_at)}."}


def _compare(host: HostState) -> None:
    pool = host.pool
    for vm in pool.residents(host.row):
        if pool.domains.get(host.name, vm.text("uuid")) is None:
            devices.unlock(pool, vm, host.row)
            guests.show_halted(pool, vm)
    known = {vm.text("uuid"): vm for vm in pool.db.rows("VM")}
    for domain in pool.domains.on(host.name):
        _judge(host, domain, known.get(domain.vm_uuid))


def _hear_of_the_others(master: HostState) -> None:
    """What ended on other hosts while no master took the news."""
    pool = master.pool
    for host in pool.hosts.values():
        if host is master or not host.reachable:
            continue
        for vm in pool.residents(host.row):
            if not pool.domains.running(vm.text("uuid")):
                devices.unlock(pool, vm, host.row)
                guests.show_halted(pool, vm)


def _judge(host: HostState, domain: Domain, vm: Row | None) -> None:
    """Placed here: believed. Placed nowhere: adopted. Placed elsewhere or unknown: ended."""
    pool = host.pool
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
    guests.hear(pool, vm, domain, since_long=resident == NULL)
    state = "Paused" if domain.paused else "Running"
    pool.db.update(vm, power_state=state, domid=domain.domid)
    occupancy.refresh(pool, vm)
