"""VM.create, clone, provision and destroy."""

from simulator import devices, memory, occupancy
from simulator.calls import Call
from simulator.coercion import coerce_record
from simulator.database import Row
from simulator.occupancy import occupied
from simulator.records import usual
from simulator.registry import operation
from simulator.values import NULL, ApiError, Record, Value

_NOT_INHERITED = (
    "uuid", "allowed_operations", "current_operations", "VBDs", "VIFs", "consoles", "metrics",
    "guest_metrics", "snapshots", "children", "resident_on", "scheduled_to_be_resident_on",
    "domid", "is_default_template", "is_a_snapshot", "snapshot_of", "snapshot_time", "suspend_VDI",
    "blobs", "parent",
)  # fmt: skip


@operation("VM.create")
async def create(call: Call, given: Record) -> Value:
    """A VM, or template, without disks or networks; Halted whatever the record says."""
    fields = coerce_record("VM", given)
    made: Record = {**usual("VM"), **fields, "power_state": "Halted", "suspend_VDI": NULL}
    if made["domain_type"] == "unspecified":
        made["domain_type"] = "hvm" if made["HVM_boot_policy"] else "pv"
    made["other_config"] = {"mac_seed": call.pool.db.fresh_uuid(), **_config(made)}
    vm = call.pool.db.insert("VM", **made)
    call.pool.db.update(vm, memory_overhead=memory.overhead_of(vm))
    occupancy.refresh(call.pool, vm)
    return vm.ref


@operation("VM.clone", tracked=True)
async def clone(call: Call, vm_ref: str, new_name: str) -> Value:
    pool = call.pool
    original = pool.db.row("VM", vm_ref)
    async with occupied(call, original, "clone"):
        await call.take("clone")
        record = {k: v for k, v in original.fields.items() if k not in _NOT_INHERITED}
        config = {**original.map("other_config"), "mac_seed": pool.db.fresh_uuid()}
        if original.flag("is_a_template"):
            config["base_template_name"] = original.text("name_label")
        record |= {"name_label": new_name, "domid": -1, "other_config": config}
        copy = pool.db.insert("VM", **record)
        _clone_devices(call, original, copy)
        occupancy.refresh(pool, copy)
    return copy.ref


def _clone_devices(call: Call, original: Row, copy: Row) -> None:
    db = call.pool.db
    for vbd in db.referred(original, "VBDs", "VBD"):
        vdi = db.find("VDI", vbd.text("VDI"))
        ref = NULL
        if vdi is not None:
            sr, size = db.row("SR", vdi.text("SR")), vdi.number("virtual_size")
            ref = devices.insert_vdi(call.pool, sr, vdi.text("name_label"), size, "user").ref
        devices.insert_vbd(
            call.pool,
            copy,
            ref,
            userdevice=vbd.text("userdevice"),
            mode=vbd.text("mode"),
            kind=vbd.text("type"),
            empty=vbd.flag("empty"),
        )
    for vif in db.referred(original, "VIFs", "VIF"):
        network = db.row("network", vif.text("network"))
        devices.insert_vif(call.pool, copy, network, vif.text("device"))


@operation("VM.provision", tracked=True)
async def provision(call: Call, vm_ref: str) -> None:
    """A clone of a template becomes a VM of its own."""
    vm = call.pool.db.row("VM", vm_ref)
    async with occupied(call, vm, "provision"):
        await call.take("write")
        call.pool.db.update(vm, is_a_template=False, is_default_template=False)


@operation("VM.destroy", tracked=True)
async def destroy(call: Call, vm_ref: str) -> None:
    """Forget a VM; its disks stay, its suspend image goes."""
    pool = call.pool
    vm = pool.db.row("VM", vm_ref)
    if vm.flag("is_default_template"):
        raise ApiError("VM_CANNOT_DELETE_DEFAULT_TEMPLATE", vm_ref)
    async with occupied(call, vm, "destroy"):
        devices.discard_suspend_image(pool, vm)
        for cls, field in (("VBD", "VBDs"), ("VIF", "VIFs")):
            for device in list(pool.db.referred(vm, field, cls)):
                pool.db.delete(device)
        for cls, field in (("VM_metrics", "metrics"), ("VM_guest_metrics", "guest_metrics")):
            metrics = pool.db.find(cls, vm.text(field))
            if metrics is not None:
                pool.db.delete(metrics)
        pool.db.delete(vm)


def _config(record: Record) -> Record:
    config = record["other_config"]
    assert isinstance(config, dict)
    return config
