"""The published table of operations and power states, cell by cell, and what comes of each."""

from typing import Any

import pytest

from simulator.values import ApiError

STATES = ("Halted", "Paused", "Running", "Suspended")

TABLE: dict[str, tuple[str, str, tuple[Any, ...]]] = {
    # method: (states it is for, as the error names them; state afterwards; arguments)
    "VM.start": ("halted", "Running", (False, False)),
    "VM.start_on": ("halted", "Running", ("xen1", False, False)),
    "VM.pause": ("running", "Paused", ()),
    "VM.unpause": ("paused", "Running", ()),
    "VM.clean_shutdown": ("running", "Halted", ()),
    "VM.clean_reboot": ("running", "Running", ()),
    "VM.suspend": ("running", "Suspended", ()),
    "VM.hard_reboot": ("paused, running", "Running", ()),
    "VM.hard_shutdown": ("paused, suspended, running", "Halted", ()),
    "VM.shutdown": ("paused, suspended, running", "Halted", ()),
    "VM.resume": ("suspended", "Running", (False, False)),
    "VM.resume_on": ("suspended", "Running", ("xen1", False, False)),
    "VM.pool_migrate": ("running", "Running", ("xen2", {})),
    "VM.set_memory_limits": ("halted", "Halted", (1 << 27, 1 << 30, 1 << 30, 1 << 30)),
    "VM.set_memory_static_range": ("halted", "Halted", (1 << 27, 4 << 30)),
    "VM.set_VCPUs_max": ("halted", "Halted", (2,)),
    "VM.set_VCPUs_at_startup": ("halted", "Halted", (1,)),
    "VM.destroy": ("halted, suspended", "gone", ()),
}

PREPARE = {
    "Halted": ("VM.clean_shutdown",),
    "Paused": ("VM.pause",),
    "Running": (),
    "Suspended": ("VM.suspend",),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("method", TABLE)
async def test_cell(client: Any, method: str, state: str) -> None:
    expected, after, args = TABLE[method]
    vm = await client.vm("web1")
    for step in PREPARE[state]:
        await client.call(step, vm)
    given = [client.host(a) if a in ("xen1", "xen2") else a for a in args]
    if state.lower() not in expected.split(", "):
        refusal = await client.refused(method, vm, *given)
        assert refusal == ["VM_BAD_POWER_STATE", vm, expected, state.lower()]
        assert await client.call("VM.get_power_state", vm) == state
        return
    await client.call(method, vm, *given)
    if after == "gone":
        assert await client.refused("VM.get_record", vm) == ["HANDLE_INVALID", "VM", vm]
        return
    assert await client.call("VM.get_power_state", vm) == after
    assert client.world.running_on("web1").power_state == after
    assert client.world.corruption == []


@pytest.mark.parametrize("state", STATES)
async def test_reset_changes_the_database_only(client: Any, state: str) -> None:
    vm = await client.vm("web1")
    for step in PREPARE[state]:
        await client.call(step, vm)
    if state in ("Running", "Paused"):
        assert await client.refused("VM.power_state_reset", vm) == ["DOMAIN_EXISTS", vm]
        return
    await client.call("VM.power_state_reset", vm)
    assert await client.call("VM.get_power_state", vm) == "Halted"


async def test_reset_of_a_vm_on_a_living_slave(client: Any) -> None:
    refusal = await client.refused("VM.power_state_reset", await client.vm("mute"))
    assert refusal == ["HOST_IS_LIVE", client.host("xen2")]


ALLOWED = {
    "web2": (
        "create_vtpm destroy metadata_export export make_into_template changing_NVRAM "
        "changing_shadow_memory changing_static_range changing_dynamic_range migrate_send start_on "
        "start copy clone snapshot"
    ),
    "tmpl": (
        "destroy metadata_export export changing_NVRAM changing_shadow_memory "
        "changing_static_range changing_dynamic_range migrate_send provision copy clone"
    ),
    "web1": (
        "sysprep metadata_export changing_VCPUs_live changing_dynamic_range migrate_send "
        "pool_migrate suspend hard_reboot hard_shutdown clean_reboot clean_shutdown pause "
        "checkpoint snapshot"
    ),
    "mute": (
        "sysprep metadata_export changing_dynamic_range hard_reboot hard_shutdown pause snapshot"
    ),
    "asleep": (
        "destroy metadata_export export migrate_send resume_on resume hard_shutdown checkpoint "
        "snapshot"
    ),
}


@pytest.mark.parametrize("name", ALLOWED)
async def test_allowed_operations_are_listed_as_recorded(client: Any, name: str) -> None:
    record = await client.record(name)
    assert record["allowed_operations"] == ALLOWED[name].split()


async def test_allowed_operations_of_a_paused_vm_and_of_dom0(client: Any) -> None:
    vm = await client.vm("web1")
    await client.call("VM.pause", vm)
    paused = "metadata_export hard_reboot hard_shutdown unpause checkpoint snapshot"
    assert await client.call("VM.get_allowed_operations", vm) == paused.split()
    dom0 = await client.call("host.get_control_domain", client.host("xen1"))
    listed = await client.call("VM.get_allowed_operations", dom0)
    assert listed == ["metadata_export", "changing_static_range", "changing_dynamic_range"]


async def test_the_order_of_the_checks(client: Any) -> None:
    """blocked_operations before the state, the state before the kind, the kind before features."""
    vm = await client.vm("mute")
    assert await client.refused("VM.clean_shutdown", vm) == ["VM_LACKS_FEATURE", vm]
    await client.call("VM.add_to_blocked_operations", vm, "clean_shutdown", "not today")
    assert await client.refused("VM.clean_shutdown", vm) == ["OPERATION_BLOCKED", vm, "not today"]
    await client.call("VM.hard_shutdown", vm)
    assert await client.refused("VM.clean_shutdown", vm) == ["OPERATION_BLOCKED", vm, "not today"]
    template, snapshot = await client.vm("tmpl"), await client.vm("snap")
    assert await client.refused("VM.pause", template) == [
        "VM_BAD_POWER_STATE", template, "running", "halted",
    ]  # fmt: skip
    start = (False, False)
    assert await client.refused("VM.start", template, *start) == [
        "VM_IS_TEMPLATE",
        template,
        "start",
    ]
    assert await client.refused("VM.start", snapshot, *start) == [
        "VM_IS_SNAPSHOT",
        snapshot,
        "start",
    ]


async def test_a_vm_that_must_not_move(client: Any) -> None:
    vm = await client.vm("web1")
    await client.call("VM.add_to_platform", vm, "nomigrate", "true")
    target = client.host("xen2")
    assert await client.refused("VM.pool_migrate", vm, target, {}) == ["VM_IS_IMMOBILE", vm]


async def test_the_control_domain_is_left_alone(client: Any) -> None:
    dom0 = await client.call("host.get_control_domain", client.host("xen1"))
    assert (await client.refused("VM.hard_shutdown", dom0))[0] == "OPERATION_NOT_ALLOWED"
    assert await client.refused("VM.power_state_reset", dom0) == [
        "CANNOT_RESET_CONTROL_DOMAIN", dom0,
    ]  # fmt: skip


async def test_a_busy_vm_is_waited_for(client: Any) -> None:
    """A second migration does not fail: the server runs it when the first is over."""
    vm = await client.vm("web1")
    first = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    second = await client.call("Async.VM.pool_migrate", vm, client.host("xen3"), {})
    await client.world.pool.clock.sleep(2)
    assert await client.call("VM.get_current_operations", vm) == {first: "pool_migrate"}
    assert (await client.finished(first))["status"] == "success"
    assert (await client.finished(second))["status"] == "success"
    assert client.world.running_on("web1").hosts == ("xen3",)


async def test_after_two_hours_the_server_gives_up(client: Any) -> None:
    clock = client.world.pool.clock
    vm = client.world.pool.db.row("VM", await client.vm("web1"))
    held = {"OpaqueRef:someone": "snapshot", "OpaqueRef:other": "suspend"}
    client.world.pool.db.update(vm, current_operations=held)
    before = clock.now()
    refusal = await client.refused("VM.pause", vm.ref)
    assert refusal == [
        "OTHER_OPERATION_IN_PROGRESS", "VM", vm.ref, "{snapshot,suspend}",
        "{OpaqueRef:someone,OpaqueRef:other}",
    ]  # fmt: skip
    assert clock.now() - before == pytest.approx(7200, abs=1)


async def test_a_hard_stop_cancels_what_is_in_its_way(client: Any) -> None:
    vm = await client.vm("web1")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    await client.world.pool.clock.sleep(3)
    await client.call("VM.hard_shutdown", vm)
    record = await client.finished(task)
    assert (record["status"], record["error_info"]) == ("cancelled", ["TASK_CANCELLED", task])
    assert client.world.running_on("web1").hosts == ()
    uuid = (await client.record("web1"))["uuid"]
    assert client.world.pool.domains.get("xen2", uuid) is None


async def test_clones_run_together(client: Any) -> None:
    vm = await client.vm("tmpl")
    tasks = [await client.call("Async.VM.clone", vm, f"copy{n}") for n in range(2)]
    await client.world.pool.clock.sleep(0.01)
    assert list(await client.call("VM.get_current_operations", vm)) == tasks
    assert await client.call("VM.get_allowed_operations", vm) == ["export", "copy", "clone"]
    for task in tasks:
        assert (await client.finished(task))["status"] == "success"


async def test_shutdown_falls_back_to_force(client: Any) -> None:
    for name in ("mute", "deaf"):
        await client.call("VM.shutdown", await client.vm(name))
        assert client.world.running_on(name).power_state == "Halted"


async def test_start_paused(client: Any) -> None:
    vm = await client.vm("web2")
    await client.call("VM.start_on", vm, client.host("xen1"), True, False)
    assert await client.call("VM.get_power_state", vm) == "Paused"
    assert client.world.running_on("web2").power_state == "Paused"


async def test_delays_pass_inside_the_call(client: Any) -> None:
    vm, clock = await client.vm("web2"), client.world.pool.clock
    await client.call("VM.set_start_delay", vm, 100)
    before = clock.now()
    await client.call("VM.start_on", vm, client.host("xen1"), False, False)
    assert clock.now() - before > 200


async def test_unknown_references(client: Any) -> None:
    nobody = "OpaqueRef:deadbeef-0000-0000-0000-000000000000"
    with pytest.raises(ApiError) as caught:
        await client.call("VM.start", nobody, False, False)
    assert caught.value.description == ["HANDLE_INVALID", "VM", nobody]
