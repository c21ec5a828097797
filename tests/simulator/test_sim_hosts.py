"""Hosts that go down and come back, and what belief makes of reality afterwards."""

import asyncio
from typing import Any

import pytest

from simulator.values import Unreachable


async def test_a_slave_without_power_is_believed_alive_for_ten_minutes(client: Any) -> None:
    world, clock, xen2 = client.world, client.world.pool.clock, client.host("xen2")
    world.power_off("xen2")
    assert world.running_on("mute").hosts == ()
    record = await client.record("mute")
    assert (record["power_state"], record["resident_on"]) == ("Running", xen2)
    host = await client.call("host.get_record", xen2)
    assert host["enabled"]
    assert await client.call("host_metrics.get_live", host["metrics"])
    hard = ("VM.hard_shutdown", await client.vm("mute"))
    assert await client.refused(*hard) == ["CANNOT_CONTACT_HOST", xen2]
    await clock.sleep(601)
    assert not await client.call("host_metrics.get_live", host["metrics"])
    assert (await client.call("host.get_record", xen2))["enabled"]
    assert await client.refused(*hard) == ["HOST_OFFLINE", xen2]


async def test_after_a_crash_its_vms_are_halted_when_it_is_back(client: Any) -> None:
    world, clock, xen2 = client.world, client.world.pool.clock, client.host("xen2")
    boot = (await client.call("host.get_other_config", xen2))["boot_time"]
    world.power_off("xen2")
    await clock.sleep(700)
    world.power_on("xen2")
    assert not world.reachable("xen2")
    await clock.sleep(1000)
    assert world.reachable("xen2")
    assert (await client.record("mute"))["power_state"] == "Halted"
    host = await client.call("host.get_record", xen2)
    assert host["enabled"]
    assert float(host["other_config"]["boot_time"]) > float(boot)
    assert await client.call("host_metrics.get_live", host["metrics"])
    await client.call("VM.start_on", await client.vm("mute"), client.host("xen1"), False, False)
    assert world.corruption == []


async def test_a_short_absence_never_shows_in_live(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    metrics = await client.call("host.get_metrics", xen2)
    world.power_off("xen2")
    world.power_on("xen2")
    await world.pool.clock.sleep(1000)
    assert await client.call("host_metrics.get_live", metrics)


async def test_a_slaves_toolstack_restarts_and_its_vms_run_on(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    before = await client.call("host.get_other_config", xen2)
    await client.call("host.disable", xen2)
    world.restart_toolstack("xen2")
    await world.pool.clock.sleep(200)
    assert world.running_on("mute").hosts == ("xen2",)
    assert (await client.record("mute"))["power_state"] == "Running"
    after = await client.call("host.get_record", xen2)
    assert after["enabled"], "a restart re-enables"
    assert after["other_config"]["boot_time"] == before["boot_time"]
    assert after["other_config"]["agent_start_time"] > before["agent_start_time"]


async def test_the_masters_toolstack_restarts(client: Any) -> None:
    world = client.world
    task = await client.call(
        "Async.VM.start_on", await client.vm("web2"), client.host("xen1"), False, False
    )
    await world.pool.clock.sleep(1)
    world.restart_toolstack("xen1")
    await world.pool.clock.sleep(0.1)
    with pytest.raises(Unreachable):
        await client.call("host.get_all")
    await world.pool.clock.sleep(200)
    assert await client.refused("host.get_all") == ["SESSION_INVALID", client.session]
    await client.login()
    assert await client.refused("task.get_record", task) == ["HANDLE_INVALID", "task", task]
    record = await client.record("web2")
    assert (record["power_state"], record["current_operations"]) == ("Halted", {})
    assert record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert world.running_on("web1").hosts == ("xen1",)
    assert [entry.outcome for entry in world.log] == ["lost"]


async def test_a_waiting_call_is_cut_when_the_toolstack_goes(client: Any) -> None:
    async def wait() -> None:
        await client.call("VM.pool_migrate", await client.vm("deaf"), client.host("xen3"), {})

    waiting = asyncio.create_task(wait())
    await client.world.pool.clock.sleep(2)
    client.world.restart_toolstack("xen1")
    with pytest.raises(Unreachable):
        await waiting


async def test_belief_follows_what_happened_in_its_absence(client: Any) -> None:
    world = client.world
    world.faults.start("api-restart", 60, host="xen2")
    world.guest_powers_off("mute")
    assert (await client.record("mute"))["power_state"] == "Running"
    await world.pool.clock.sleep(61)
    assert (await client.record("mute"))["power_state"] == "Halted"


async def test_a_running_vm_that_belief_has_nowhere_is_adopted(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    world.faults.start("api-restart", 60, host="xen2")
    await client.call("VM.power_state_reset", await client.vm("mute"))
    record = await client.record("mute")
    assert (record["power_state"], record["resident_on"], record["domid"]) == (
        "Halted", "OpaqueRef:NULL", -1,
    )  # fmt: skip
    assert world.running_on("mute").hosts == ("xen2",)
    await world.pool.clock.sleep(61)
    record = await client.record("mute")
    assert (record["power_state"], record["resident_on"]) == ("Running", xen2)


async def test_declare_dead(client: Any) -> None:
    world, xen2, xen3 = client.world, client.host("xen2"), client.host("xen3")
    for living in (client.host("xen1"), xen2):
        assert await client.refused("host.declare_dead", living) == ["HOST_IS_LIVE", living]
    world.power_off("xen2")
    vm = await client.vm("mute")
    await client.call("VM.power_state_reset", vm)
    start = ("VM.start_on", vm, xen3, False, False)
    refusal = await client.refused(*start)
    assert refusal[0] == "SR_BACKEND_FAILURE_46"
    assert "already attached RW" in refusal[2]
    await client.call("host.declare_dead", xen2)
    assert not await client.call("host.get_enabled", xen2)
    assert (await client.record("deaf"))["power_state"] == "Halted"
    await client.call(*start)
    assert world.running_on("mute").hosts == ("xen3",)
    assert world.corruption == []


async def test_disable_and_enable(client: Any) -> None:
    xen2 = client.host("xen2")
    for _ in range(2):
        await client.call("host.disable", xen2)
    assert client.world.running_on("mute").hosts == ("xen2",)
    refusal = await client.refused("VM.start_on", await client.vm("tied"), xen2, False, False)
    assert refusal == ["HOST_DISABLED", xen2]
    for _ in range(2):
        await client.call("host.enable", xen2)
    await client.call("VM.start_on", await client.vm("tied"), xen2, False, False)


async def test_evacuation_is_all_or_nothing(client: Any) -> None:
    xen2 = client.host("xen2")
    mute = await client.vm("mute")
    await client.call("VM.hard_shutdown", mute)
    tied = await client.vm("tied")
    await client.call("VM.start_on", tied, xen2, False, False)
    await client.world.pool.clock.sleep(5)
    obstacles = await client.call("host.get_vms_which_prevent_evacuation", xen2)
    assert list(obstacles) == [tied]
    assert obstacles[tied][:2] == ["VM_REQUIRES_SR", tied]
    assert (await client.refused("host.evacuate", xen2))[0] == "CANNOT_EVACUATE_HOST"
    assert client.world.running_on("deaf").hosts == ("xen2",)
    await client.call("VM.clean_shutdown", tied)
    assert await client.call("host.get_vms_which_prevent_evacuation", xen2) == {}
    await client.call("host.evacuate", xen2)
    assert client.world.running_on("deaf").hosts != ("xen2",)
    assert client.world.corruption == []


async def test_questions_to_a_host(client: Any) -> None:
    xen1 = client.host("xen1")
    assert await client.call("host.get_servertime", xen1) == client.world.pool.clock.date()
    assert await client.refused("host.call_plugin", xen1, "nosuch", "fn", {}) == [
        "XENAPI_MISSING_PLUGIN", "nosuch",
    ]  # fmt: skip
    client.world.pool.certificates["xen1"] = "PEM"
    assert await client.call("host.get_server_certificate", xen1) == "PEM"
