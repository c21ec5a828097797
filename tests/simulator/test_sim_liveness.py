"""Who is heard and what is believed of him: cuts, hangs, orderly ends, and the return."""

import asyncio
from typing import Any

import pytest

from simulator.values import ApiError
from tests.simulator.conftest import Client


async def live(client: Any, host: str) -> bool:
    metrics = await client.call("host.get_metrics", client.host(host))
    answer: bool = await client.call("host_metrics.get_live", metrics)
    return answer


async def later(client: Any, seconds: float) -> None:
    await client.world.pool.clock.sleep(seconds)


async def silent(coroutine: Any, seconds: float = 600) -> "asyncio.Task[Any]":
    """A call that is not answered within that time; it still waits."""
    asking: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
    await asyncio.wait([asking], timeout=seconds)
    assert not asking.done()
    return asking


async def test_a_host_cut_off_runs_on_and_is_not_live_after_ten_minutes(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    world.faults.start("net-cut", 1300, host="xen2", **{"from": "hosts"})
    assert world.running_on("mute").hosts == ("xen2",)
    shutdown, clock = ("VM.hard_shutdown", await client.vm("mute")), world.pool.clock
    began = clock.now()
    assert await client.refused(*shutdown) == ["CANNOT_CONTACT_HOST", xen2]
    assert 3 <= clock.now() - began <= 131, "nobody refuses: TCP has to give up"
    await later(client, began + 590 - clock.now())
    assert await live(client, "xen2")
    await later(client, 15)
    assert not await live(client, "xen2")
    began = clock.now()
    assert await client.refused(*shutdown) == ["HOST_OFFLINE", xen2]
    assert clock.now() - began < 1, "known already"
    await later(client, 700)
    assert await live(client, "xen2"), "heard again, without any restart"
    assert (await client.record("mute"))["power_state"] == "Running"
    await client.call(*shutdown)


async def test_the_ten_minutes_begin_anew_with_every_silence(client: Any) -> None:
    world = client.world
    for _ in range(4):
        fault = world.faults.start("net-cut", 5000, host="xen2", **{"from": "master"})
        await later(client, 400)
        world.faults.stop(fault)
        await later(client, 100)
        assert await live(client, "xen2")


async def test_a_host_cut_off_from_clients_alone(client: Any) -> None:
    world = client.world
    fault = world.faults.start("net-cut", 5000, host="xen2", **{"from": "client"})
    login = ["root", "secret"]
    asking = await silent(world.call("xen2", "session.login_with_password", login))
    assert await live(client, "xen2")
    await client.call("VM.hard_shutdown", await client.vm("mute"))
    assert world.reachable("xen2"), "packets vanish; nothing refuses them"
    world.faults.stop(fault)
    with pytest.raises(ApiError, match="HOST_IS_SLAVE"):
        await asking


async def test_an_answer_is_held_up_by_a_cut_that_came_meanwhile(client: Any) -> None:
    world = client.world
    asking = asyncio.ensure_future(client.call("VM.start", await client.vm("web2"), False, False))
    await asyncio.sleep(0.01)
    fault = world.faults.start("net-cut", 5000, host="xen1", **{"from": "client"})
    await asyncio.wait([asking], timeout=600)
    assert not asking.done()
    assert len(world.running_on("web2").hosts) == 1
    world.faults.stop(fault)
    assert await asking == ""


async def test_the_master_cut_off_from_the_hosts(client: Any) -> None:
    """Its API answers; its slaves are not heard; nobody becomes master by himself."""
    world = client.world
    world.faults.start("net-cut", 5000, host="xen1", **{"from": "hosts"})
    await later(client, 700)
    assert [await live(client, host) for host in ("xen1", "xen2", "xen3")] == [True, False, False]
    with pytest.raises(ApiError, match="HOST_IS_SLAVE"):
        await Client(world, "xen2").login()


async def test_a_hung_host_accepts_nothing_and_may_still_write(client: Any) -> None:
    world = client.world
    world.faults.start("hang", 9000, host="xen2")
    args = ["root", "secret"]
    asking = await silent(world.call("xen2", "session.login_with_password", args))
    assert world.running_on("mute").hosts == ("xen2",)
    world.guest_powers_off("mute")
    assert world.running_on("mute").hosts == ("xen2",), "it makes no step"
    assert not await live(client, "xen2")
    await client.call("host.declare_dead", client.host("xen2"))
    await client.call("VM.start_on", await client.vm("mute"), client.host("xen3"), False, False)
    assert {case.kind for case in world.corruption} == {"double-run", "double-writer"}
    asking.cancel()


async def test_declaring_a_hung_host_dead_blocks_until_its_power_is_cut(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    world.faults.start("hang", 9000, host="xen2")
    declaring = await silent(client.call("host.declare_dead", xen2), seconds=100)
    world.power_off("xen2")
    assert world.faults.listed() == [], "without power nothing hangs"
    assert await declaring == ""
    assert (await client.record("mute"))["power_state"] == "Halted"
    assert world.running_on("mute").hosts == ()
    assert await live(client, "xen2"), "the flag is not touched"


async def test_declaring_a_host_dead_whose_toolstack_hangs_waits_for_it(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    world.faults.start("api-hang", 300, host="xen2")
    with pytest.raises(ApiError, match="HOST_IS_LIVE"):
        await (await silent(client.call("host.declare_dead", xen2), seconds=290))
    world.faults.start("api-hang", 300, host="xen2", method="VM.start")
    assert await client.refused("host.declare_dead", xen2) == ["HOST_IS_LIVE", xen2]


async def test_a_hang_that_passes_goes_on_where_it_was(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    starting = asyncio.ensure_future(
        client.call("VM.start_on", await client.vm("web2"), xen2, False, False)
    )
    await asyncio.sleep(0.5)
    fault = world.faults.start("hang", 300, host="xen2")
    await asyncio.wait([starting], timeout=200)
    assert not starting.done()
    assert world.running_on("web2").hosts == ()
    declaring = asyncio.ensure_future(client.call("host.declare_dead", xen2))
    await asyncio.sleep(1)
    world.faults.stop(fault)
    with pytest.raises(ApiError, match="HOST_IS_LIVE"):
        await declaring
    assert await starting == ""
    assert world.running_on("web2").hosts == ("xen2",)


async def test_what_a_dark_host_carried_out_fails_when_tcp_gives_up(client: Any) -> None:
    world, xen2, clock = client.world, client.host("xen2"), client.world.pool.clock
    task = await client.call("Async.VM.start_on", await client.vm("web2"), xen2, False, False)
    await asyncio.sleep(1)
    world.power_off("xen2")
    began = clock.now()
    assert (await client.call("task.get_record", task))["status"] == "pending"
    assert (await client.record("web2"))["current_operations"] == {task: "start_on"}
    record = await client.finished(task)
    assert record["error_info"] == ["CANNOT_CONTACT_HOST", xen2]
    assert 3 <= clock.now() - began <= 131
    assert (await client.record("web2"))["current_operations"] == {}


async def test_declaring_it_dead_aborts_what_it_carried_out(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    metrics = await client.call("host.get_metrics", xen2)
    task = await client.call("Async.VM.start_on", await client.vm("web2"), xen2, False, False)
    await asyncio.sleep(1)
    world.power_off("xen2")
    world.pool.db.update(world.pool.db.row("host_metrics", metrics), live=False)
    await client.call("host.declare_dead", xen2)
    assert (await client.finished(task))["status"] == "cancelled"
    await client.call("VM.start_on", await client.vm("web2"), client.host("xen1"), False, False)
    await later(client, 200)
    assert world.running_on("web2").hosts == ("xen1",)
    assert (await client.record("web2"))["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert world.corruption == []


async def test_the_costs_of_writing_a_host_off(client: Any) -> None:
    """It is asked once for itself and once for each VM, one after another, while it is live; not
    at all afterwards. A reset asks for its own VM alone, beside others."""
    world, clock, xen2 = client.world, client.world.pool.clock, client.host("xen2")
    world.power_off("xen2")
    began = clock.now()
    await client.call("host.declare_dead", xen2)
    assert clock.now() - began >= 3 * 3, "two VMs and the host itself"
    world.power_on("xen2")
    await later(client, 1000)
    await client.call("VM.start_on", await client.vm("mute"), xen2, False, False)
    world.power_off("xen2")
    await later(client, 610)
    began = clock.now()
    await client.call("VM.power_state_reset", await client.vm("mute"))
    await client.call("host.declare_dead", xen2)
    assert clock.now() - began < 1


async def test_what_is_refused(client: Any) -> None:
    xen1, xen2 = client.host("xen1"), client.host("xen2")
    reset = "VM.power_state_reset"
    assert await client.refused(reset, await client.vm("mute")) == ["HOST_IS_LIVE", xen2]
    web1 = await client.vm("web1")
    assert await client.refused(reset, web1) == ["DOMAIN_EXISTS", web1]
    db = client.world.pool.db
    dom0 = next(row.ref for row in db.rows("VM") if row.flag("is_control_domain"))
    assert await client.refused(reset, dom0) == ["CANNOT_RESET_CONTROL_DOMAIN", dom0]
    assert await client.refused("host.declare_dead", xen1) == ["HOST_IS_LIVE", xen1]
    client.world.faults.start("api-restart", 60, host="xen2")
    began = client.world.pool.clock.now()
    await client.call(reset, await client.vm("mute"))
    assert client.world.pool.clock.now() - began < 1, "a closed port refuses at once"


async def test_an_orderly_shutdown(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    assert await client.refused("host.shutdown", xen2) == ["HOST_NOT_DISABLED"]
    await client.call("host.disable", xen2)
    await client.call("host.shutdown", xen2)
    host = await client.call("host.get_record", xen2)
    assert list(host["current_operations"].values()) == ["shutdown"]
    assert not await live(client, "xen2"), "at once"
    assert world.reachable("xen2")
    await later(client, 9)
    assert world.running_on("mute").hosts == ("xen2",)
    await later(client, 200)
    assert not world.reachable("xen2")
    assert world.running_on("mute").hosts == (), "without tools it cannot move, nor stop cleanly"
    assert world.running_on("deaf").hosts in (("xen1",), ("xen3",)), "moved away by itself"
    await later(client, 1000)
    assert not await live(client, "xen2")


async def test_an_orderly_reboot(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    boot = (await client.call("host.get_other_config", xen2))["boot_time"]
    await client.call("host.disable", xen2)
    await client.call("host.reboot", xen2)
    assert not await live(client, "xen2")
    await later(client, 1500)
    assert await live(client, "xen2")
    host = await client.call("host.get_record", xen2)
    assert (host["enabled"], host["current_operations"]) == (True, {})
    assert host["other_config"]["boot_time"] > boot
    assert world.running_on("web1").hosts == ("xen1",)


async def test_power_on_from_afar(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    assert await client.refused("host.power_on", xen2) == ["HOST_POWER_ON_MODE_DISABLED"]
    await client.call("host.set_power_on_mode", xen2, "wake-on-lan", {})
    assert await client.refused("host.power_on", xen2) == ["HOST_IS_LIVE", xen2]
    await world.agent.off("xen2-bmc")
    await later(client, 601)
    await client.call("host.power_on", xen2)
    assert world.reachable("xen2")
    assert await live(client, "xen2")
    await world.agent.off("xen2-bmc")
    await later(client, 601)
    world.faults.start("boot-fail", 60, host="xen2")
    refusal = await client.refused("host.power_on", xen2)
    assert refusal[0] == "XENAPI_PLUGIN_FAILURE"


async def test_restart_agent(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    await client.call("host.disable", xen2)
    await client.call("host.restart_agent", xen2)
    await later(client, 1.5)
    assert not world.reachable("xen2")
    await later(client, 120)
    assert world.reachable("xen2")
    assert await client.call("host.get_enabled", xen2)
    assert world.running_on("mute").hosts == ("xen2",)


async def test_a_forgotten_host_is_not_let_in_again(client: Any) -> None:
    world, xen3 = client.world, client.host("xen3")
    assert await client.refused("host.destroy", xen3) == ["HOST_IS_LIVE", xen3]
    world.power_off("xen3")
    await later(client, 601)
    await client.call("host.destroy", xen3)
    assert len(await client.call("host.get_all")) == 2
    assert await client.refused("host.get_record", xen3) == ["HANDLE_INVALID", "host", xen3]
    world.power_on("xen3")
    await later(client, 1500)
    with pytest.raises(ApiError, match="HOST_UNKNOWN_TO_MASTER"):
        await Client(world, "xen3").login()


async def test_a_host_that_still_has_vms_is_not_forgotten(client: Any) -> None:
    client.world.power_off("xen2")
    await later(client, 601)
    xen2 = client.host("xen2")
    assert await client.refused("host.destroy", xen2) == ["HOST_HAS_RESIDENT_VMS", xen2]
