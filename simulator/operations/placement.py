"""Questions about where a VM could run and what it needs."""

from simulator import devices, memory, placement
from simulator.calls import Call
from simulator.registry import look
from simulator.values import ApiError, Value


@look("VM.assert_can_boot_here")
async def assert_can_boot_here(call: Call, vm_ref: str, host: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    state = placement.assert_can_host(call.pool, vm, host)
    placement.assert_cpu_fits(vm, state.row)


@look("VM.get_possible_hosts")
async def get_possible_hosts(call: Call, vm_ref: str) -> Value:
    vm = call.pool.db.row("VM", vm_ref)
    return [host.row.ref for host in placement.possible_hosts(call.pool, vm)]


@look("VM.assert_agile")
async def assert_agile(call: Call, vm_ref: str) -> None:
    db = call.pool.db
    vm = db.row("VM", vm_ref)
    for _, vdi in devices.vdis_of(call.pool, vm):
        sr = db.row("SR", vdi.text("SR"))
        if not sr.flag("shared"):
            raise ApiError("HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED", sr.ref)
    for vif in db.referred(vm, "VIFs", "VIF"):
        network = db.row("network", vif.text("network"))
        if not network.list("PIFs"):
            raise ApiError("HA_CONSTRAINT_VIOLATION_NETWORK_NOT_SHARED", network.ref)


@look("VM.compute_memory_overhead")
async def compute_memory_overhead(call: Call, vm_ref: str) -> Value:
    return memory.overhead_of(call.pool.db.row("VM", vm_ref))


@look("VM.maximise_memory")
async def maximise_memory(call: Call, vm_ref: str, total: int, approximate: bool) -> Value:
    return memory.largest_static_max(call.pool.db.row("VM", vm_ref), total, approximate)


@look("VM.get_allowed_VBD_devices")
async def allowed_vbd_devices(call: Call, vm_ref: str) -> Value:
    vm = call.pool.db.row("VM", vm_ref)
    taken = {vbd.text("userdevice") for vbd in call.pool.db.referred(vm, "VBDs", "VBD")}
    return [str(n) for n in range(255) if str(n) not in taken]


@look("VM.get_allowed_VIF_devices")
async def allowed_vif_devices(call: Call, vm_ref: str) -> Value:
    vm = call.pool.db.row("VM", vm_ref)
    taken = {vif.text("device") for vif in call.pool.db.referred(vm, "VIFs", "VIF")}
    return [str(n) for n in range(16) if str(n) not in taken]


@look("VM.assert_can_migrate")
async def assert_can_migrate(call: Call, _vm: str, dest: dict[str, str], *_rest: Value) -> None:
    # Migration with storage is not simulated; without a destination real servers stumble like this.
    if not dest:
        raise ApiError("INTERNAL_ERROR", "Not_found")
    raise ApiError("NOT_IMPLEMENTED", call.message.full_name)
