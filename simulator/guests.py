"""Domains and the guests in them: how they come, announce themselves, and go.

Reality changes at once; the database follows, and only while the host's toolstack is up. What it
misses it learns at the next resync.
"""

from __future__ import annotations

from typing import Any

from simulator import devices, occupancy
from simulator.database import Row
from simulator.domains import Domain
from simulator.pool import HostState, Pool
from simulator.records import usual
from simulator.reigns import Reigns
from simulator.values import NULL, Record


def open_console(pool: Pool, vm: Row, host: Row, protocol: str) -> None:
    """A console of the VM on the host."""
    console = pool.db.insert("console", protocol=protocol, VM=vm.ref)
    location = f"https://{host.text('address')}/console?ref={console.ref}"
    pool.db.update(console, location=location)


def place_running(pool: Pool, vm: Row, host: HostState, paused: bool) -> None:
    """Put a VM that runs since long, agent and all, into a pool that is being made."""
    disks = devices.disks_of(pool, vm)
    domain = pool.domains.create(pool.clock.now(), host.name, vm.text("uuid"), disks)
    devices.lock(pool, vm, host.row)
    devices.attach(pool, vm, "")
    devices.settle(pool, vm)
    show_running(pool, vm, host, paused)
    show_domain(pool, vm, host, domain)
    if paused:
        pool.domains.set_paused(host.name, vm.text("uuid"), paused=True)
    if pool.guest_of(vm).tools:
        announce(pool, vm)


def show_running(pool: Pool, vm: Row, host: HostState, paused: bool) -> None:
    """The database learns that the VM runs; its domain number follows a little later."""
    pool.db.update(
        vm,
        power_state="Paused" if paused else "Running",
        resident_on=host.row.ref,
        scheduled_to_be_resident_on=NULL,
        last_boot_CPU_flags=_cpu_flags(pool),
    )
    _metrics(pool, vm, start_time=pool.clock.date(), hvm=vm.text("domain_type") == "hvm")


def show_domain(pool: Pool, vm: Row, host: HostState, domain: Domain) -> None:
    """The database learns the domain's number, consoles and size; the guest is silent yet."""
    silent = pool.db.insert("VM_guest_metrics", last_updated=pool.clock.date(), live=True)
    memory, vcpus = vm.number("memory_dynamic_max"), vm.number("VCPUs_at_startup")
    pool.db.update(vm, domid=domain.domid, memory_target=memory, guest_metrics=silent.ref)
    loads: Record = {str(number): 0.0 for number in range(vcpus)}
    _metrics(
        pool,
        vm,
        memory_actual=memory,
        VCPUs_number=vcpus,
        VCPUs_utilisation=loads,
        current_domain_type=vm.text("domain_type"),
    )
    move_consoles(pool, vm, host)
    occupancy.refresh(pool, vm)


def move_consoles(pool: Pool, vm: Row, host: HostState) -> None:
    """The VM's consoles are on this host now and nowhere else."""
    for console in list(pool.db.referred(vm, "consoles", "console")):
        pool.db.delete(console)
    for protocol in ("rfb", "vt100"):
        open_console(pool, vm, host.row, protocol)


def forget_guest(pool: Pool, vm: Row) -> None:
    """A start begins by forgetting what the last guest said."""
    metrics = pool.db.find("VM_guest_metrics", vm.text("guest_metrics"))
    pool.db.update(vm, guest_metrics=NULL)
    if metrics is not None:
        pool.db.delete(metrics)


def show_halted(pool: Pool, vm: Row) -> None:
    """The database learns that nothing of the VM runs."""
    for console in list(pool.db.referred(vm, "consoles", "console")):
        pool.db.delete(console)
    devices.detach(pool, vm)
    pool.db.update(vm, power_state="Halted")
    pool.db.update(
        vm, resident_on=NULL, scheduled_to_be_resident_on=NULL, domid=-1, memory_target=0
    )
    _metrics(pool, vm, memory_actual=0, VCPUs_number=0, VCPUs_utilisation={})
    occupancy.refresh(pool, vm)


def announce(pool: Pool, vm: Row) -> None:
    """The guest's agent speaks: system, addresses, features."""
    metrics = pool.db.find("VM_guest_metrics", vm.text("guest_metrics"))
    if metrics is None:
        return
    number = int(vm.text("uuid").replace("-", "")[-4:], 16)
    address = f"192.0.2.{1 + number % 254}"
    networks = {"0/ip": address, "0/ipv4/0": address, "0/ipv6/0": f"2001:db8::{number:x}"}
    said: Record = usual("guest_tools")
    pool.db.update(metrics, **said, networks=networks, last_updated=pool.clock.date())
    occupancy.refresh(pool, vm)


def boot(pool: Pool, vm: Row, domid: int) -> None:
    """Start the guest of a fresh domain; its agent speaks when it is up."""
    if pool.guest_of(vm).tools:
        pool.site.in_background(_boot(pool, vm, domid))


async def _boot(pool: Pool, vm: Row, domid: int) -> None:
    await pool.clock.work(pool.guest_of(vm).behaviour.boot)
    # A domain that went, or went elsewhere, in the meantime has another number.
    if vm.number("domid") == domid and pool.domains.running(vm.text("uuid")):
        announce(pool, vm)


def hear(pool: Pool, vm: Row, domain: Domain, since_long: bool) -> None:
    """The toolstack found the domain running: the agent, if there is one, is heard (again)."""
    metrics = pool.db.find("VM_guest_metrics", vm.text("guest_metrics"))
    if metrics is None or metrics.flag("PV_drivers_detected") or not pool.guest_of(vm).tools:
        return
    if since_long:
        announce(pool, vm)
    else:
        boot(pool, vm, domain.domid)


def stop_itself(reigns: Reigns, vm_uuid: str, crashed: bool) -> None:
    """The guest powers itself off, or crashes: no task, only what everybody can see afterwards.

    A guest on a server that stands still does nothing.
    """
    site = reigns.site
    for domain in site.domains.running(vm_uuid):
        machine = site.machines[domain.host]
        if site.machines.hung(machine):
            continue
        site.domains.destroy(domain.host, domain.vm_uuid)
        pool = reigns.of(machine)
        host = pool.hosts.get(machine.name)
        if host is not None and host.reachable:
            for vm in pool.db.rows("VM"):
                if vm.text("uuid") == vm_uuid:
                    _reflect_stop(pool, vm, host, crashed)


def _reflect_stop(pool: Pool, vm: Row, host: HostState, crashed: bool) -> None:
    said = f"VM '{vm.text('name_label')}' (uuid: {vm.text('uuid')})"
    if crashed:
        pool.messages.post("VM_CRASHED", "VM", vm, f"{said} has crashed")
    action = vm.text("actions_after_crash" if crashed else "actions_after_shutdown")
    if "restart" in action:
        restart(pool, vm, host)
        return
    devices.unlock(pool, vm, host.row)
    show_halted(pool, vm)
    if not crashed:
        pool.messages.post("VM_SHUTDOWN", "VM", vm, f"{said} shutdown itself")


def restart(pool: Pool, vm: Row, host: HostState) -> None:
    """A new domain in the place of the old one, on the same host and with its disks."""
    pool.domains.destroy(host.name, vm.text("uuid"))
    forget_guest(pool, vm)
    disks = devices.disks_of(pool, vm)
    domain = pool.domains.create(pool.clock.now(), host.name, vm.text("uuid"), disks)
    show_running(pool, vm, host, paused=False)
    show_domain(pool, vm, host, domain)
    boot(pool, vm, domain.domid)


def _cpu_flags(pool: Pool) -> Record:
    level = pool.row.map("cpu_info")
    return {"vendor": level["vendor"], "features": level["features_hvm"]}


def _metrics(pool: Pool, vm: Row, **fields: Any) -> None:
    metrics = pool.db.find("VM_metrics", vm.text("metrics"))
    if metrics is None:
        metrics = pool.db.insert("VM_metrics", install_time=pool.clock.date())
        pool.db.update(vm, metrics=metrics.ref)
    pool.db.update(metrics, **fields)
