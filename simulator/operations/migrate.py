"""VM.pool_migrate: live migration on shared storage."""

from simulator import devices, guests, latency, placement
from simulator.calls import Call
from simulator.database import Row
from simulator.occupancy import host_occupied, occupied
from simulator.operations.power import assert_runs, called, reserve, say
from simulator.pool import HostState
from simulator.registry import operation
from simulator.values import NULL, ApiError, Value

_TICK_S = 1.0
_SHORTEST_TICK_S = 0.05
_NAP_S = 0.001
_MOST_RESENT = 2.0
"""Pre-copy rounds are bounded: no more than twice the memory is sent, whatever the guest dirties."""


@operation("VM.pool_migrate", tracked=True)
async def pool_migrate(call: Call, vm_ref: str, host_ref: str, options: dict[str, str]) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    force = options.get("force") == "true"
    async with occupied(call, vm, "pool_migrate", strict=not force):
        await move(call, vm, host_ref, force)


async def move(call: Call, vm: Row, host_ref: str, force: bool) -> None:
    """Move a VM that the call already holds; host.evacuate does it many times."""
    pool = call.pool
    source = pool.host_of(vm.text("resident_on"))
    target = placement.assert_can_host(pool, vm, host_ref)
    if not force:
        placement.assert_cpu_fits(vm, target.row)
    await reserve(call, vm, target)
    try:
        await call.forward(source)
        with host_occupied(call, target.row, "vm_migrate"):
            await _transfer(call, vm, source, target)
    finally:
        _tidy(call, vm, target)
    said = f"migrated from host: {called(source.row)} to host: {called(target.row)}"
    say(call, vm, "VM_MIGRATED", said)


async def _transfer(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    pool = call.pool
    call.allow_cancel(True)
    await call.work(pool.latencies.draw_at_least_median("migrate") * 0.5)
    if target is not source:
        if not call.site.machines[target.name].powered:
            raise _failed(vm, source, target, "the destination is gone")
        pool.domains.create(pool.clock.now(), target.name, vm.text("uuid"), (), incoming=True)
    await _send_memory(call, vm, source, target)
    await call.work(pool.latencies.draw_at_least_median("migrate") * 0.5)
    _fail_if_told(call, vm, source, target)
    call.allow_cancel(False)
    await call.take("handover")
    _assert_both_up(call, vm, source, target)
    _hand_over(call, vm, source, target)


async def _send_memory(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    """Pre-copy: the bandwidth of either host is shared by all migrations that it takes part in."""
    streams, stream = call.pool.streams, (source.name, target.name)
    streams.append(stream)
    try:
        await _stream(call, vm, source, target)
    finally:
        streams.remove(stream)


async def _stream(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    clock = call.pool.clock
    dirty = call.pool.guest_of(vm).behaviour.dirty
    total = float(vm.number("memory_dynamic_max"))
    total *= min(_MOST_RESENT, 1 / max(1e-9, 1 - dirty / latency.MIGRATE_BYTES_PER_S))
    sent, before = 0.0, clock.now()
    while sent < total:
        rate = latency.MIGRATE_BYTES_PER_S / _sharers(call, source, target)
        left = (total - sent) / rate / clock.speed
        # Never so short a nap that the clock would not notice it: it would be taken for ever.
        await call.sleep(max(_NAP_S, min(left, max(_SHORTEST_TICK_S, _TICK_S / clock.speed))))
        now = clock.now()
        sent += rate * (now - before) * clock.speed
        before = now
        call.progress(min(0.95, 0.95 * sent / total))
        _assert_both_up(call, vm, source, target)
        _fail_if_told(call, vm, source, target)


def _sharers(call: Call, source: HostState, target: HostState) -> int:
    """How many streams the busier of the two links carries."""
    streams = call.pool.streams
    return max(sum(host in stream for stream in streams) for host in (source.name, target.name))


def _fail_if_told(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    for host in (source, target):
        struck = call.pool.faults.strike("migrate-fail", host=host.name, vm=vm.text("name_label"))
        if struck is not None:
            raise _failed(vm, source, target, "the memory stream broke off")


def _assert_both_up(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    assert_runs(call, vm, source)
    if call.pool.domains.get(target.name, vm.text("uuid")) is None:
        raise _failed(vm, source, target, "the destination is gone")


def _failed(vm: Row, source: HostState, target: HostState, text: str) -> ApiError:
    return ApiError("VM_MIGRATE_FAILED", vm.ref, source.row.ref, target.row.ref, text)


def _hand_over(call: Call, vm: Row, source: HostState, target: HostState) -> None:
    """The guest goes on at the target; the database follows in the same breath."""
    pool, uuid = call.pool, vm.text("uuid")
    if target is source:
        pool.domains.destroy(source.name, uuid)
        disks = devices.disks_of(pool, vm)
        arrived = pool.domains.create(pool.clock.now(), target.name, uuid, disks)
    else:
        devices.unlock(pool, vm, source.row)
        handed = pool.domains.hand_over(pool.clock.now(), uuid, source.name, target.name)
        assert handed is not None
        arrived = handed
    devices.lock(pool, vm, target.row)
    changes: dict[str, Value] = {
        "resident_on": target.row.ref,
        "scheduled_to_be_resident_on": NULL,
        "domid": arrived.domid,
    }
    pool.db.update(vm, **changes)
    guests.move_consoles(pool, vm, target)


def _tidy(call: Call, vm: Row, target: HostState) -> None:
    """Whatever came of it: no reservation is left, and no half-built domain."""
    domain = call.pool.domains.get(target.name, vm.text("uuid"))
    if domain is not None and domain.incoming:
        call.pool.domains.destroy(target.name, vm.text("uuid"))
    call.pool.db.update(vm, scheduled_to_be_resident_on=NULL)
