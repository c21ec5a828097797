"""Suspend to disk and resume."""

from simulator import devices, guests, latency, placement
from simulator.calls import Call
from simulator.database import Row
from simulator.occupancy import host_occupied, occupied
from simulator.operations.power import (
    appeared,
    assert_runs,
    called,
    create_domain,
    reserve,
    say,
    to_resident,
)
from simulator.pool import HostState
from simulator.registry import operation
from simulator.values import NULL


@operation("VM.suspend", tracked=True)
async def suspend(call: Call, vm_ref: str) -> None:
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "suspend"):
        host = await to_resident(call, vm)
        devices.suspend_sr(pool, vm)
        call.allow_cancel(True)
        await _stream(call, vm)
        assert_runs(call, vm, host)
        call.allow_cancel(False)
        image = devices.insert_suspend_image(pool, vm)
        pool.domains.destroy(host.name, vm.text("uuid"))
        devices.unlock(pool, vm, host.row)
        guests.show_halted(pool, vm)
        pool.db.update(vm, power_state="Suspended", suspend_VDI=image.ref)
    say(call, vm, "VM_SUSPENDED", "suspended")


@operation("VM.resume", tracked=True)
async def resume(call: Call, vm_ref: str, paused: bool, _force: bool) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "resume"):
        await _restore(call, vm, placement.choose(call.pool, vm), paused)


@operation("VM.resume_on", tracked=True)
async def resume_on(call: Call, vm_ref: str, host_ref: str, paused: bool, _force: bool) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "resume_on"):
        await _restore(call, vm, placement.assert_can_host(call.pool, vm, host_ref), paused)


async def _restore(call: Call, vm: Row, host: HostState, paused: bool) -> None:
    pool = call.pool
    placement.assert_cpu_fits(vm, host.row)
    flags = vm.map("last_boot_CPU_flags")
    await reserve(call, vm, host)
    with host_occupied(call, host.row, "vm_resume"):
        try:
            devices.attach(pool, vm, call.task_ref)
            await _stream(call, vm)
            create_domain(call, vm, host, paused)
        finally:
            _end_of_resume(call, vm)
        # It goes on with the CPU that it was started with, not with today's.
        pool.db.update(vm, last_boot_CPU_flags=flags)
        await call.take("pause")
        guests.forget_guest(pool, vm)
        appeared(call, vm, host)
    if pool.guest_of(vm).tools:
        guests.announce(pool, vm)
    say(call, vm, "VM_RESUMED", f"resumed on host: {called(host.row)}")


def _end_of_resume(call: Call, vm: Row) -> None:
    devices.settle(call.pool, vm)
    if vm.text("power_state") == "Suspended":
        devices.detach(call.pool, vm)
    else:
        devices.discard_suspend_image(call.pool, vm)
    call.pool.db.update(vm, scheduled_to_be_resident_on=NULL)


async def _stream(call: Call, vm: Row) -> None:
    """The VM's memory goes to the suspend disk, or comes from it."""
    await call.take("pause")
    await call.work(0.5 * vm.number("memory_dynamic_max") / latency.SUSPEND_BYTES_PER_S)
    call.progress(0.5)
    await call.work(0.5 * vm.number("memory_dynamic_max") / latency.SUSPEND_BYTES_PER_S)
