"""Start, stop, reboot, pause."""

from simulator import devices, guests, latency, memory, placement
from simulator.calls import Call
from simulator.database import Row
from simulator.occupancy import host_occupied, occupied
from simulator.pool import HostState
from simulator.registry import operation
from simulator.values import NULL, ApiError


@operation("VM.start", tracked=True)
async def start(call: Call, vm_ref: str, paused: bool, force: bool) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "start"):
        if not force:
            placement.assert_memory_limits(vm)
        host = placement.choose(call.pool, vm)
        await bring_up(call, vm, host, paused)
        await call.work(vm.number("start_delay"))


@operation("VM.start_on", tracked=True)
async def start_on(call: Call, vm_ref: str, host_ref: str, paused: bool, force: bool) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "start_on"):
        if not force:
            placement.assert_memory_limits(vm)
        host = placement.assert_can_host(call.pool, vm, host_ref)
        if "evacuate" in host.row.map("current_operations").values():
            raise ApiError("HOST_EVACUATE_IN_PROGRESS", host_ref)
        await bring_up(call, vm, host, paused)
        # Waited out twice: by the host that starts it and by the master that forwarded the call.
        await call.work(2 * vm.number("start_delay"))


async def bring_up(call: Call, vm: Row, host: HostState, paused: bool) -> None:
    """Build the VM's domain on the host. The reservation is made before anything is waited for."""
    pool = call.pool
    total = pool.latencies.draw("start")
    await reserve(call, vm, host)
    with host_occupied(call, host.row, "vm_start"):
        try:
            await call.work(0.1 * total)
            guests.forget_guest(pool, vm)
            devices.attach(pool, vm, call.task_ref)
            await call.work(0.2 * total)
            call.progress(0.5)
            await call.work(0.6 * total)
            create_domain(call, vm, host, paused)
            await call.work(0.1 * total)
        finally:
            _end_of_start(call, vm)
        appeared(call, vm, host)
    if not paused:
        guests.boot(pool, vm, vm.number("domid"))
    say(call, vm, "VM_STARTED", f"started on host: {called(host.row)}")


async def reserve(call: Call, vm: Row, host: HostState) -> None:
    """Hand the work to the host and count the VM's memory there from now on."""
    await call.forward(host)
    call.pool.db.update(
        vm,
        scheduled_to_be_resident_on=host.row.ref,
        memory_overhead=memory.overhead_of(vm),
    )


def create_domain(call: Call, vm: Row, host: HostState, paused: bool) -> None:
    """Open the disks and create the domain: it really runs. From here on there is no way back."""
    pool = call.pool
    devices.lock(pool, vm, host.row)
    disks = devices.disks_of(pool, vm)
    pool.domains.create(pool.clock.now(), host.name, vm.text("uuid"), disks)
    pool.domains.set_paused(host.name, vm.text("uuid"), paused)
    call.allow_cancel(False)
    guests.show_running(pool, vm, host, paused)


def appeared(call: Call, vm: Row, host: HostState) -> None:
    """The end of a start: the domain's number and its still silent guest are seen."""
    domain = call.pool.domains.get(host.name, vm.text("uuid"))
    if domain is None:
        # Stopped by force, or by itself, while it was being started.
        raise ApiError("INTERNAL_ERROR", f"The domain of VM {vm.text('uuid')} has gone")
    guests.show_domain(call.pool, vm, host, domain)


def _end_of_start(call: Call, vm: Row) -> None:
    devices.settle(call.pool, vm)
    if vm.text("power_state") == "Halted":
        devices.detach(call.pool, vm)
    call.pool.db.update(vm, scheduled_to_be_resident_on=NULL)


@operation("VM.pause", tracked=True)
async def pause(call: Call, vm_ref: str) -> None:
    await _set_paused(call, vm_ref, "pause", paused=True)


@operation("VM.unpause", tracked=True)
async def unpause(call: Call, vm_ref: str) -> None:
    await _set_paused(call, vm_ref, "unpause", paused=False)


async def _set_paused(call: Call, vm_ref: str, name: str, *, paused: bool) -> None:
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    async with occupied(call, vm, name):
        host = await to_resident(call, vm)
        await call.take("pause")
        assert_runs(call, vm, host)
        pool.domains.set_paused(host.name, vm.text("uuid"), paused)
        pool.db.update(vm, power_state="Paused" if paused else "Running")
    if not paused:
        guests.boot(pool, vm, vm.number("domid"))
    say(call, vm, f"VM_{name.upper()}D", f"{name}d")


@operation("VM.clean_shutdown", tracked=True)
async def clean_shutdown(call: Call, vm_ref: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "clean_shutdown"):
        host = await to_resident(call, vm)
        await _guest_stops(call, vm, host)
        take_down(call, vm, host)
        await call.work(vm.number("shutdown_delay"))
    say(call, vm, "VM_SHUTDOWN", "shutdown")


@operation("VM.hard_shutdown", tracked=True)
async def hard_shutdown(call: Call, vm_ref: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "hard_shutdown"):
        await _kill(call, vm)
    say(call, vm, "VM_SHUTDOWN", "shutdown forcibly")


async def _kill(call: Call, vm: Row) -> None:
    if vm.text("power_state") == "Suspended":
        devices.discard_suspend_image(call.pool, vm)
        guests.show_halted(call.pool, vm)
        return
    host = await to_resident(call, vm)
    total = call.pool.latencies.draw("hard_shutdown")
    call.allow_cancel(False)
    await call.work(0.3 * total)
    call.progress(1 / 7)
    call.pool.domains.set_paused(host.name, vm.text("uuid"), True)
    call.pool.db.update(vm, power_state="Paused")
    await call.work(0.7 * total)
    take_down(call, vm, host)


@operation("VM.shutdown", tracked=True)
async def shutdown(call: Call, vm_ref: str) -> None:
    """Clean if the guest can and does, hard otherwise."""
    vm = call.pool.db.row("VM", vm_ref)
    if vm.text("power_state") == "Running":
        try:
            await clean_shutdown(call, vm_ref)
        except ApiError as error:
            if error.code not in _CLEAN_STOP_FAILED:
                raise
        else:
            return
    await hard_shutdown(call, vm_ref)


_CLEAN_STOP_FAILED = (
    "VM_LACKS_FEATURE",
    "VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT",
    "VM_SHUTDOWN_TIMEOUT",
)


@operation("VM.clean_reboot", tracked=True)
async def clean_reboot(call: Call, vm_ref: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "clean_reboot"):
        host = await to_resident(call, vm)
        await _guest_stops(call, vm, host)
        await _again(call, vm, host)
    say(call, vm, "VM_REBOOTED", "rebooted cleanly")


@operation("VM.hard_reboot", tracked=True)
async def hard_reboot(call: Call, vm_ref: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "hard_reboot"):
        host = await to_resident(call, vm)
        await call.take("hard_shutdown")
        await _again(call, vm, host)
    say(call, vm, "VM_REBOOTED", "rebooted forcibly")


async def _again(call: Call, vm: Row, host: HostState) -> None:
    call.allow_cancel(False)
    assert_runs(call, vm, host)
    guests.restart(call.pool, vm, host)
    await call.take("pause")


async def _guest_stops(call: Call, vm: Row, host: HostState) -> None:
    """Ask the guest; it must acknowledge soon and be off in time."""
    call.allow_cancel(True)
    guest = call.pool.guest_of(vm).behaviour
    if guest.ignores_shutdown:
        await call.work(latency.SHUTDOWN_ACKNOWLEDGED_WITHIN_S)
        raise ApiError("VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm.ref)
    limit = latency.SHUTDOWN_DONE_WITHIN_S
    await call.work(min(guest.shutdown, limit))
    if guest.shutdown > limit:
        raise ApiError("VM_SHUTDOWN_TIMEOUT", vm.ref, f"{limit:.0f}.")
    assert_runs(call, vm, host)


def take_down(call: Call, vm: Row, host: HostState) -> None:
    """End the domain, free its disks, and let the database see it."""
    call.pool.domains.destroy(host.name, vm.text("uuid"))
    devices.unlock(call.pool, vm, host.row)
    guests.show_halted(call.pool, vm)


async def to_resident(call: Call, vm: Row) -> HostState:
    """Hand the call to the host where the VM is."""
    host = call.pool.host_of(vm.text("resident_on"))
    await call.forward(host)
    return host


def assert_runs(call: Call, vm: Row, host: HostState) -> None:
    """The domain may have ended by itself in the meantime."""
    if call.pool.domains.get(host.name, vm.text("uuid")) is None:
        state = vm.text("power_state").lower()
        raise ApiError("VM_BAD_POWER_STATE", vm.ref, "running", state)


def reset(call: Call, vm: Row) -> None:
    """Halted, nowhere, held by nobody: what still held it is given up."""
    call.calls.abort_on(vm)
    devices.discard_suspend_image(call.pool, vm)
    call.pool.db.update(vm, current_operations={})
    guests.show_halted(call.pool, vm)


def called(row: Row) -> str:
    """An object's name and uuid, as messages have it."""
    return f"{row.text('name_label')} (uuid: {row.text('uuid')})"


def say(call: Call, vm: Row, name: str, what: str) -> None:
    """Leave a message about the VM."""
    uuid = vm.text("uuid")
    call.pool.messages.post(name, "VM", vm, f"VM '{vm.text('name_label')}' (uuid: {uuid}) {what}")
