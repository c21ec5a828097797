"""What is inside a VM: booting, the agent, stopping by itself, crashing, refusing."""

from typing import Any

import pytest


async def test_the_agent_speaks_after_the_boot(client: Any) -> None:
    vm = await client.vm("web2")
    await client.call("VM.start_on", vm, client.host("xen1"), False, False)
    metrics = await client.call("VM.get_guest_metrics", vm)
    silent = await client.call("VM_guest_metrics.get_record", metrics)
    assert (silent["networks"], silent["other"], silent["PV_drivers_detected"]) == ({}, {}, False)
    assert await client.refused("VM.clean_shutdown", vm) == ["VM_LACKS_FEATURE", vm]
    await client.world.pool.clock.sleep(4)
    spoken = await client.call("VM_guest_metrics.get_record", metrics)
    assert spoken["networks"]["0/ip"].startswith("192.0.2.")
    assert spoken["other"]["feature-shutdown"] == "1"
    assert "clean_shutdown" in await client.call("VM.get_allowed_operations", vm)
    await client.call("VM.clean_shutdown", vm)


async def test_a_guest_without_tools_never_speaks(client: Any) -> None:
    vm = await client.vm("mute")
    await client.call("VM.hard_reboot", vm)
    await client.world.pool.clock.sleep(1000)
    metrics = await client.call("VM.get_guest_metrics", vm)
    assert await client.call("VM_guest_metrics.get_other", metrics) == {}
    for method, args in (("VM.suspend", ()), ("VM.pool_migrate", (client.host("xen1"), {}))):
        assert await client.refused(method, vm, *args) == ["VM_LACKS_FEATURE", vm]


async def test_a_reboot_is_another_domain(client: Any) -> None:
    vm, clock = await client.vm("web1"), client.world.pool.clock
    before = await client.record("web1")
    started = await client.call("VM_metrics.get_start_time", before["metrics"])
    await clock.sleep(10)
    await client.call("VM.clean_reboot", vm)
    after = await client.record("web1")
    assert after["domid"] > before["domid"]
    assert after["guest_metrics"] != before["guest_metrics"]
    assert after["resident_on"] == before["resident_on"]
    assert await client.call("VM_metrics.get_start_time", after["metrics"]) > started
    assert await client.refused("VM.clean_shutdown", vm) == ["VM_LACKS_FEATURE", vm]


async def test_a_guest_that_does_not_listen(client: Any) -> None:
    vm, clock = await client.vm("deaf"), client.world.pool.clock
    before = clock.now()
    refusal = await client.refused("VM.clean_shutdown", vm)
    assert refusal == ["VM_FAILED_SHUTDOWN_ACKNOWLEDGMENT", vm]
    assert clock.now() - before == pytest.approx(60, abs=1)
    assert client.world.running_on("deaf").power_state == "Running"


async def test_a_guest_switches_itself_off(client: Any) -> None:
    token = (await client.call("event.from", ["task"], "", 0.0))["token"]
    client.world.guest_powers_off("web1")
    record = await client.record("web1")
    assert (record["power_state"], record["resident_on"], record["domid"]) == (
        "Halted", "OpaqueRef:NULL", -1,
    )  # fmt: skip
    assert (await client.call("event.from", ["task"], token, 0.0))["events"] == []
    assert [entry.method for entry in client.world.log] == []
    vdi = (await client.call("VBD.get_record", record["VBDs"][0]))["VDI"]
    assert await client.call("VDI.get_sm_config", vdi) == {}


async def test_a_poweroff_can_be_made_a_reboot(client: Any) -> None:
    vm = await client.vm("web1")
    await client.call("VM.set_actions_after_shutdown", vm, "restart")
    before = await client.call("VM.get_domid", vm)
    client.world.guest_powers_off("web1")
    assert await client.call("VM.get_power_state", vm) == "Running"
    assert await client.call("VM.get_domid", vm) > before
    assert client.world.running_on("web1").hosts == ("xen1",)


async def test_a_crash(client: Any) -> None:
    vm = await client.vm("web1")
    before = await client.call("VM.get_domid", vm)
    client.world.guest_crashes("web1")
    assert await client.call("VM.get_domid", vm) > before, "actions_after_crash is restart"
    await client.call("VM.set_actions_after_crash", vm, "destroy")
    client.world.guest_crashes("web1")
    assert await client.call("VM.get_power_state", vm) == "Halted"
    names = [m["name"] for m in (await client.call("message.get_all_records")).values()]
    assert names == ["VM_CRASHED", "VM_CRASHED"]


async def test_suspend_keeps_the_memory_on_disk(client: Any) -> None:
    vm, clock = await client.vm("web1"), client.world.pool.clock
    before = clock.now()
    await client.call("VM.suspend", vm)
    assert clock.now() - before > 15, "4 GiB at 250 MB/s"
    record = await client.record("web1")
    assert (record["power_state"], record["resident_on"], record["domid"]) == (
        "Suspended", "OpaqueRef:NULL", -1,
    )  # fmt: skip
    assert await client.call("VDI.get_type", record["suspend_VDI"]) == "suspend"
    await client.call("VM.resume_on", vm, client.host("xen3"), False, False)
    after = await client.record("web1")
    assert after["suspend_VDI"] == "OpaqueRef:NULL"
    assert client.world.running_on("web1").hosts == ("xen3",)
    gone = await client.refused("VDI.get_record", record["suspend_VDI"])
    assert gone[0] == "HANDLE_INVALID"
    assert "clean_shutdown" in after["allowed_operations"], "the guest never stopped speaking"


async def test_nowhere_to_suspend_to(client: Any) -> None:
    pool = (await client.call("pool.get_all"))[0]
    await client.call("pool.set_suspend_image_SR", pool, "OpaqueRef:NULL")
    vm = await client.vm("web1")
    assert await client.refused("VM.suspend", vm) == ["VM_NO_SUSPEND_SR", vm]


async def test_a_hard_stop_discards_a_suspend_image(client: Any) -> None:
    vm = await client.vm("asleep")
    image = await client.call("VM.get_suspend_VDI", vm)
    await client.call("VM.hard_shutdown", vm)
    assert (await client.refused("VDI.get_record", image))[0] == "HANDLE_INVALID"
