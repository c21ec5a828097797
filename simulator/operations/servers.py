"""Hosts as servers: switched off, rebooted, switched on, their toolstack restarted, forgotten."""

from contextlib import suppress

from simulator import latency, placement
from simulator.calls import Call, Calls
from simulator.database import Row
from simulator.dispatch import Dispatch
from simulator.operations.ha import assert_no_ha
from simulator.pool import HostState, Pool
from simulator.registry import operation
from simulator.toolstacks import Toolstacks
from simulator.values import ApiError, Unreachable

_GUESTS_STOP_WITHIN_S = 60.0


@operation("host.shutdown", tracked=True)
async def shutdown(call: Call, host_ref: str) -> None:
    """Answers at once; what is left on the host is moved or stopped, then it is off."""
    await _go_down(call, host_ref, "shutdown")


@operation("host.reboot", tracked=True)
async def reboot(call: Call, host_ref: str) -> None:
    """As shutdown, and on again."""
    await _go_down(call, host_ref, "reboot")


async def _go_down(call: Call, host_ref: str, operation_: str) -> None:
    host = call.pool.host_of(host_ref)
    if host.row.flag("enabled"):
        raise ApiError("HOST_NOT_DISABLED")
    await call.forward(host)
    await call.take("write")
    shown = {**host.row.map("current_operations"), call.task_ref: operation_}
    call.pool.db.update(host.row, current_operations=shown)
    call.pool.links.leaves(host)
    call.site.in_background(_descend(host, call.calls, again=operation_ == "reboot"))


async def _descend(host: HostState, calls: Calls, *, again: bool) -> None:
    """The way down: what can go elsewhere goes, the rest is stopped, and the power ends it all."""
    pool, machine = host.pool, host.machine
    toolstacks, boots = Toolstacks(calls), machine.boots
    await pool.clock.work(latency.SHUTDOWN_FUSE_S)
    for vm in pool.residents(host.row):
        if machine.boots == boots:
            await _clear(pool, host, vm, Dispatch(calls))
    if machine.boots == boots:
        toolstacks.press(machine.name, on=False)
        if again:
            toolstacks.press(machine.name, on=True)


async def _clear(pool: Pool, host: HostState, vm: Row, dispatch: Dispatch) -> None:
    for target in placement.possible_hosts(pool, vm):
        if target is not host and vm.text("power_state") == "Running":
            with suppress(ApiError, Unreachable):
                await dispatch.by_itself(pool, "VM.pool_migrate", vm.ref, target.row.ref, {})
                return
    with suppress(ApiError, Unreachable):
        if pool.guest_of(vm).behaviour.shutdown <= _GUESTS_STOP_WITHIN_S:
            await dispatch.by_itself(pool, "VM.clean_shutdown", vm.ref)


@operation("host.power_on", tracked=True)
async def power_on(call: Call, host_ref: str) -> None:
    """Press the button from afar, and wait until the host is there."""
    host = call.pool.host_of(host_ref)
    if not host.row.text("power_on_mode"):
        raise ApiError("HOST_POWER_ON_MODE_DISABLED")
    if call.pool.is_live(host.row):
        raise ApiError("HOST_IS_LIVE", host_ref)
    Toolstacks(call.calls).press(host.name, on=True)
    limit = call.site.clock.now() + latency.POWER_ON_WITHIN_S
    while not call.pool.is_live(host.row):
        left = limit - call.site.clock.now()
        if left <= 0:
            raise ApiError("XENAPI_PLUGIN_FAILURE", "non-zero exit", "", "the host did not come up")
        await call.pool.db.changed(left)


@operation("host.restart_agent")
async def restart_agent(call: Call, host_ref: str) -> None:
    """The toolstack restarts; VMs run on."""
    host = call.pool.host_of(host_ref)
    await call.forward(host)
    call.site.in_background(_restart(host, Toolstacks(call.calls)))


async def _restart(host: HostState, toolstacks: Toolstacks) -> None:
    # After the answer, which a restart at once would cut off.
    await host.pool.clock.work(1.0)
    await toolstacks.restart(host.machine)


@operation("host.destroy", tracked=True)
async def destroy(call: Call, host_ref: str) -> None:
    """Forget a host for good. It will not be let in again."""
    host = call.pool.host_of(host_ref)
    assert_no_ha(call.pool)
    if host is call.pool.master or call.pool.is_live(host.row):
        raise ApiError("HOST_IS_LIVE", host_ref)
    if call.pool.residents(host.row):
        raise ApiError("HOST_HAS_RESIDENT_VMS", host_ref)
    db = call.pool.db
    for cls in ("PBD", "PIF", "host_cpu", "Certificate"):
        for row in db.rows(cls):
            if row.text("host") == host_ref:
                db.delete(row)
    for vm in db.rows("VM"):
        if vm.flag("is_control_domain") and vm.text("resident_on") == host_ref:
            db.delete(vm)
    db.delete(call.pool.metrics_of(host.row))
    db.delete(host.row)
    del call.pool.hosts[host.name]
