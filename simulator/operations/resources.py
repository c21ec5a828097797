"""Memory, vCPUs and other settings whose setters are more than a write."""

from simulator import checks, memory, occupancy, placement
from simulator.calls import Call
from simulator.database import Row
from simulator.occupancy import occupied
from simulator.operations.power import to_resident
from simulator.registry import operation
from simulator.values import ApiError, Value


async def _set_limits(call: Call, vm_ref: str, name: str, **limits: int) -> None:
    """Write memory limits that are in order; MEMORY_CONSTRAINT_VIOLATION if they are not."""
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    async with occupied(call, vm, name):
        fields: dict[str, Value] = {f"memory_{limit}": size for limit, size in limits.items()}
        before = {field: vm.fields[field] for field in fields}
        pool.db.update(vm, **fields)
        if not memory.in_order(vm):
            pool.db.update(vm, **before)
            raise ApiError("MEMORY_CONSTRAINT_VIOLATION")
        if vm.text("power_state") == "Halted":
            pool.db.update(vm, memory_overhead=memory.overhead_of(vm))


@operation("VM.set_memory_limits", tracked=True)
async def set_memory_limits(
    call: Call, vm: str, static_min: int, static_max: int, dynamic_min: int, dynamic_max: int
) -> None:
    await _set_limits(
        call,
        vm,
        "changing_static_range",
        static_min=static_min,
        static_max=static_max,
        dynamic_min=dynamic_min,
        dynamic_max=dynamic_max,
    )


@operation("VM.set_memory", tracked=True)
async def set_memory(call: Call, vm_ref: str, value: int) -> None:
    low = min(value, call.pool.db.row("VM", vm_ref).number("memory_static_min"))
    await _set_limits(
        call,
        vm_ref,
        "changing_static_range",
        static_min=low,
        static_max=value,
        dynamic_min=value,
        dynamic_max=value,
    )


@operation("VM.set_memory_static_range", tracked=True)
async def set_memory_static_range(call: Call, vm: str, low: int, high: int) -> None:
    await _set_limits(call, vm, "changing_static_range", static_min=low, static_max=high)


@operation("VM.set_memory_static_min", tracked=True)
async def set_memory_static_min(call: Call, vm: str, value: int) -> None:
    await _set_limits(call, vm, "changing_static_range", static_min=value)


@operation("VM.set_memory_static_max", tracked=True)
async def set_memory_static_max(call: Call, vm: str, value: int) -> None:
    await _set_limits(call, vm, "changing_static_range", static_max=value)


@operation("VM.set_memory_dynamic_min", tracked=True)
async def set_memory_dynamic_min(call: Call, vm: str, value: int) -> None:
    await _set_limits(call, vm, "changing_dynamic_range", dynamic_min=value)


@operation("VM.set_memory_dynamic_max", tracked=True)
async def set_memory_dynamic_max(call: Call, vm: str, value: int) -> None:
    await _set_limits(call, vm, "changing_dynamic_range", dynamic_max=value)


@operation("VM.set_memory_dynamic_range", tracked=True)
async def set_memory_dynamic_range(call: Call, vm_ref: str, low: int, high: int) -> None:
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    await _set_limits(call, vm_ref, "changing_dynamic_range", dynamic_min=low, dynamic_max=high)
    if vm.text("power_state") == "Running":
        await call.take("pause")
        target = min(high, max(low, vm.number("memory_target")))
        pool.db.update(vm, memory_target=target)
        metrics = pool.db.find("VM_metrics", vm.text("metrics"))
        if metrics is not None:
            pool.db.update(metrics, memory_actual=target)


@operation("VM.set_VCPUs_max")
async def set_vcpus_max(call: Call, vm_ref: str, value: int) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    _assert_halted(vm)
    _assert_vcpus(vm.number("VCPUs_at_startup"), value, "VCPUs_max", value)
    call.pool.db.update(vm, VCPUs_max=value)
    call.pool.db.update(vm, memory_overhead=memory.overhead_of(vm))


@operation("VM.set_VCPUs_at_startup")
async def set_vcpus_at_startup(call: Call, vm_ref: str, value: int) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    _assert_halted(vm)
    _assert_vcpus(value, vm.number("VCPUs_max"), "VCPUs_at_startup", value)
    call.pool.db.update(vm, VCPUs_at_startup=value)


@operation("VM.set_VCPUs_number_live", tracked=True)
async def set_vcpus_number_live(call: Call, vm_ref: str, count: int) -> None:
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "changing_VCPUs_live"):
        _assert_vcpus(count, vm.number("VCPUs_max"), "VCPUs_number_live", count)
        await to_resident(call, vm)
        await call.take("pause")
        metrics = pool.db.row("VM_metrics", vm.text("metrics"))
        loads: Value = {str(number): 0.0 for number in range(count)}
        pool.db.update(metrics, VCPUs_number=count, VCPUs_utilisation=loads)


def _assert_halted(vm: Row) -> None:
    state = vm.text("power_state")
    if state != "Halted":
        raise ApiError("VM_BAD_POWER_STATE", vm.ref, "halted", state.lower())


def _assert_vcpus(now: int, most: int, field: str, value: int) -> None:
    if not 0 < now <= most:
        raise ApiError("INVALID_VALUE", field, str(value))


@operation("VM.set_suspend_VDI")
async def set_suspend_vdi(call: Call, vm_ref: str, vdi: str) -> None:
    call.pool.db.update(call.pool.db.row("VM", vm_ref), suspend_VDI=vdi)


@operation("VM.set_is_a_template")
async def set_is_a_template(call: Call, vm_ref: str, value: bool) -> None:
    """A template becomes a VM at any time, a VM a template only when it is halted."""
    vm = call.pool.db.row("VM", vm_ref)
    if value and vm.text("power_state") != "Halted":
        _assert_halted(vm)
    call.pool.db.update(vm, is_a_template=value)
    occupancy.refresh(call.pool, vm)


@operation("VM.set_HVM_shadow_multiplier")
async def set_shadow_multiplier(call: Call, vm_ref: str, value: float) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    if value < 1.0:
        raise ApiError("INVALID_VALUE", "HVM_shadow_multiplier", f"{value:g}")
    _assert_halted(vm)
    call.pool.db.update(vm, HVM_shadow_multiplier=value)
    call.pool.db.update(vm, memory_overhead=memory.overhead_of(vm))


@operation("VM.update_allowed_operations")
async def update_allowed_operations(call: Call, vm_ref: str) -> None:
    occupancy.refresh(call.pool, call.pool.db.row("VM", vm_ref))


@operation("VM.assert_operation_valid", changes=False)
async def assert_operation_valid(call: Call, vm_ref: str, name: str) -> None:
    vm = call.pool.db.row("VM", vm_ref)
    if name not in checks.RULES:
        raise ApiError("NOT_IMPLEMENTED", f"VM.assert_operation_valid {name}")
    refusal = checks.refusal(call.pool, vm, name)
    if refusal is not None:
        raise refusal
    if name == "start":
        placement.assert_memory_limits(vm)
