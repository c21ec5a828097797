"""host.*: settings, questions, evacuation."""

import asyncio

from simulator import placement
from simulator.calls import Call
from simulator.database import Row
from simulator.occupancy import host_occupied, occupied
from simulator.operations.migrate import move
from simulator.pool import HostState
from simulator.registry import look, operation
from simulator.values import NULL, ApiError, Value

EVACUATE_AT_ONCE = 10
"""How many VMs host.evacuate moves at a time unless it is told otherwise."""


@operation("host.disable", tracked=True)
async def disable(call: Call, host_ref: str, *_auto_enable: bool) -> None:
    # Whether the host may re-enable itself after a restart is not told apart: it always does,
    # which is the older behaviour and the one a careful client must expect.
    call.pool.db.update(call.pool.db.row("host", host_ref), enabled=False)


@operation("host.enable", tracked=True)
async def enable(call: Call, host_ref: str) -> None:
    host = call.pool.host_of(host_ref)
    await call.forward(host)
    if host.machine.comparing:
        raise ApiError("HOST_STILL_BOOTING")
    call.pool.db.update(host.row, enabled=True)


@look("host.get_servertime", "host.get_server_localtime")
async def servertime(call: Call, host_ref: str) -> Value:
    call.pool.db.row("host", host_ref)
    return call.pool.clock.date()


@look("host.compute_free_memory")
async def compute_free_memory(call: Call, host_ref: str) -> Value:
    return placement.free_memory(call.pool, call.pool.db.row("host", host_ref))


@look("host.compute_memory_overhead")
async def compute_memory_overhead(call: Call, host_ref: str) -> Value:
    return call.pool.db.row("host", host_ref).number("memory_overhead")


@look("host.get_server_certificate")
async def get_server_certificate(call: Call, host_ref: str) -> Value:
    host = call.pool.host_of(host_ref)
    return call.pool.certificates.get(host.name, "")


@look("host.get_management_interface")
async def get_management_interface(call: Call, host_ref: str) -> Value:
    host = call.pool.db.row("host", host_ref)
    for pif in call.pool.db.referred(host, "PIFs", "PIF"):
        if pif.flag("management"):
            return pif.ref
    return NULL


@look("host.call_plugin")
async def call_plugin(_call: Call, _host: str, plugin: str, *_rest: Value) -> Value:
    """No plugin is installed on a simulated host."""
    raise ApiError("XENAPI_MISSING_PLUGIN", plugin)


@operation("host.set_power_on_mode")
async def set_power_on_mode(call: Call, host_ref: str, mode: str, config: dict[str, str]) -> None:
    host = call.pool.db.row("host", host_ref)
    call.pool.db.update(host, power_on_mode=mode, power_on_config=config)


@look("host.get_vms_which_prevent_evacuation")
async def vms_which_prevent_evacuation(call: Call, host_ref: str) -> Value:
    return _obstacles(call, call.pool.db.row("host", host_ref))


@look("host.assert_can_evacuate")
async def assert_can_evacuate(call: Call, host_ref: str) -> None:
    _assert_can_evacuate(call, call.pool.db.row("host", host_ref))


@operation("host.evacuate", tracked=True)
async def evacuate(call: Call, host_ref: str, *options: Value) -> None:
    """Move every VM off. All or nothing in planning: one VM that cannot go refuses the lot."""
    host = call.pool.host_of(host_ref)
    _assert_can_evacuate(call, host.row)
    at_once = options[1] if options[1:] else EVACUATE_AT_ONCE
    assert isinstance(at_once, int)
    moving = call.pool.residents(host.row)
    with host_occupied(call, host.row, "evacuate"):
        for first in range(0, len(moving), at_once or EVACUATE_AT_ONCE):
            batch = moving[first : first + (at_once or EVACUATE_AT_ONCE)]
            results = await asyncio.gather(
                *(_move_away(call, vm, host) for vm in batch), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            call.progress((first + len(batch)) / len(moving))


async def _move_away(call: Call, vm: Row, host: HostState) -> None:
    async with occupied(call, vm, "pool_migrate"):
        if vm.text("resident_on") != host.row.ref:
            return
        for target in _other_hosts(call, host.row):
            if not _refused_by(call, vm, target):
                await move(call, vm, target.ref, force=False)
                return
        raise ApiError("HOST_NOT_ENOUGH_FREE_MEMORY", vm.ref)


def _assert_can_evacuate(call: Call, host: Row) -> None:
    obstacles = _obstacles(call, host)
    if obstacles:
        text = "|".join(";".join(why) for why in obstacles.values())
        raise ApiError("CANNOT_EVACUATE_HOST", text)


def _obstacles(call: Call, host: Row) -> dict[str, list[str]]:
    """VM to why it cannot go; it must be able to go to every other enabled host."""
    found = {}
    for vm in call.pool.residents(host):
        reasons = [_refused_by(call, vm, other) for other in _other_hosts(call, host)]
        reasons = reasons or [["NO_HOSTS_AVAILABLE"]]
        refused = next((reason for reason in reasons if reason), None)
        if refused:
            found[vm.ref] = refused
    return found


def _other_hosts(call: Call, host: Row) -> list[Row]:
    return [
        other
        for other in call.pool.db.rows("host")
        if other is not host and other.flag("enabled") and call.pool.is_live(other)
    ]


def _refused_by(call: Call, vm: Row, host: Row) -> list[str]:
    try:
        placement.assert_can_host(call.pool, vm, host.ref)
        placement.assert_cpu_fits(vm, host)
    except ApiError as error:
        return error.description
    return []
