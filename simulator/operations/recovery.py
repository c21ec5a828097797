"""What is done after a host, or the master, has died. None of it proves that anything is dead."""

from simulator import devices
from simulator.calls import Call
from simulator.database import Row
from simulator.operations.ha import assert_no_ha
from simulator.operations.power import reset
from simulator.pool import HostState
from simulator.registry import look, operation
from simulator.toolstacks import Toolstacks
from simulator.values import ApiError, Value


@operation("VM.power_state_reset", tracked=True)
async def power_state_reset(call: Call, vm_ref: str) -> None:
    """Change the database only. It proves nothing: what runs goes on, and disk marks stay."""
    vm = call.pool.db.row("VM", vm_ref)
    if vm.flag("is_control_domain"):
        raise ApiError("CANNOT_RESET_CONTROL_DOMAIN", vm_ref)
    resident = call.pool.db.find("host", vm.text("resident_on"))
    if resident is not None:
        await _assert_gone(call, vm, call.pool.host_of(resident.ref))
    reset(call, vm)


async def _assert_gone(call: Call, vm: Row, host: HostState) -> None:
    if host is not call.pool.master:
        await call.assert_dead(host)
    elif call.pool.domains.get(host.name, vm.text("uuid")):
        raise ApiError("DOMAIN_EXISTS", vm.ref)


@operation("host.declare_dead", tracked=True)
async def declare_dead(call: Call, host_ref: str) -> None:
    """Write the host off: its VMs are Halted, its tasks and its marks on disks gone. It is asked
    whether it is dead once, and once more for each VM, one after another; ``live`` stays."""
    host = call.pool.host_of(host_ref)
    if host is call.pool.master:
        raise ApiError("HOST_IS_LIVE", host_ref)
    await call.assert_dead(host)
    for vm in call.pool.residents(host.row):
        await call.assert_dead(host)
        reset(call, vm)
    call.pool.db.update(host.row, enabled=False)
    call.calls.abort_at(host.machine)
    devices.clear_locks(call.pool, host.row)


@look("host.is_in_emergency_mode")
async def is_in_emergency_mode(call: Call) -> Value:
    return call.taken_by.stashed is not None


@look("host.ha_xapi_healthcheck")
async def ha_xapi_healthcheck(_call: Call) -> Value:
    return True


@look("pool.is_slave")
async def is_slave(call: Call, _host: str) -> Value:
    return not call.taken_by.is_master


@operation("pool.sync_database", tracked=True)
async def sync_database(call: Call) -> None:
    """Every slave that the master hears takes a copy of its database."""
    await call.take("sync")
    call.pool.links.copy_now()


@operation("pool.emergency_transition_to_master")
async def emergency_transition_to_master(call: Call) -> None:
    """Be master, on this host's own copy of the database, from the restart on that follows."""
    assert_no_ha(call.pool)
    Toolstacks(call.calls).become_master(call.taken_by)


@operation("pool.emergency_reset_master")
async def emergency_reset_master(call: Call, address: str) -> None:
    """Follow the host of that address from the restart on that follows."""
    assert_no_ha(call.pool)
    master = call.site.by_address(address)
    if master is None:
        raise ApiError("INTERNAL_ERROR", "Not_found")
    if master is call.taken_by:
        raise ApiError("HOST_ITS_OWN_SLAVE")
    Toolstacks(call.calls).become_slave(call.taken_by, master)


@operation("pool.recover_slaves", tracked=True)
async def recover_slaves(call: Call) -> Value:
    """Tell every host that answers who is master now; whoever does not is passed over."""
    recovered = []
    for host in list(call.pool.hosts.values()):
        if host.machine is not call.taken_by and await call.answers(host):
            Toolstacks(call.calls).become_slave(host.machine, call.taken_by)
            recovered.append(host.row.ref)
    return recovered


@operation("pool.designate_new_master", tracked=True)
async def designate_new_master(call: Call, host_ref: str) -> None:
    """A planned change: all hosts have to agree before any of them does anything."""
    assert_no_ha(call.pool)
    new = call.pool.host_of(host_ref)
    if new is call.pool.master:
        return
    for host in call.pool.hosts.values():
        await call.assert_reachable(host)
    await call.take("sync")
    call.pool.links.copy_now()
    toolstacks = Toolstacks(call.calls)
    for host in call.pool.hosts.values():
        if host is new:
            toolstacks.become_master(new.machine)
        else:
            toolstacks.become_slave(host.machine, new.machine)
