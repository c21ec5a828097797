"""What a boot brings with it: storage that does not plug, a start that never ends, VMs that start
by themselves, and a master that comes back with an older database."""

from typing import Any

from simulator.values import ApiError, Unreachable
from tests.simulator.conftest import Client


async def later(client: Any, seconds: float) -> None:
    await client.world.pool.clock.sleep(seconds)


async def test_a_host_is_enabled_a_moment_after_it_is_live(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    token = (await client.call("event.from", ["host"], "", 0.0))["token"]
    fault = world.faults.start("api-restart", 60, host="xen2")
    world.faults.stop(fault)
    assert not await client.call("host.get_enabled", xen2)
    first = await client.call("event.from", ["host"], token, 5.0)
    assert [event["snapshot"]["enabled"] for event in first["events"]] == [False]
    assert await client.refused("host.enable", xen2) == ["HOST_STILL_BOOTING"]
    await later(client, 1.1)
    assert await client.call("host.get_enabled", xen2)


async def test_a_toolstack_that_starts_says_so_for_a_while(client: Any) -> None:
    world, heard = client.world, set()
    world.restart_toolstack("xen1")
    for _ in range(200):
        await later(client, 0.5)
        try:
            await Client(world).login()
        except ApiError as error:
            heard.add(error.code)
        except Unreachable:
            heard.add("nothing")
    assert heard == {"nothing", "HOST_STILL_BOOTING"}
    await Client(world).login()


async def test_storage_fails_to_plug_at_boot(client: Any) -> None:
    world, xen2 = client.world, client.host("xen2")
    world.faults.start("pbd-fail", 3000, host="xen2", sr="nfs")
    world.power_off("xen2")
    world.power_on("xen2")
    await later(client, 1500)
    plugged = {}
    for ref in await client.call("host.get_PBDs", xen2):
        record = await client.call("PBD.get_record", ref)
        name = await client.call("SR.get_name_label", record["SR"])
        plugged[name] = (record["currently_attached"], ref)
    assert (plugged["nfs"][0], plugged["local2"][0]) == (False, True)
    start = ("VM.start_on", await client.vm("web2"), xen2, False, False)
    assert (await client.refused(*start))[0] == "VM_REQUIRES_SR"
    await client.call("PBD.plug", plugged["nfs"][1])
    await client.call(*start)


async def test_a_boot_that_never_ends(client: Any) -> None:
    world = client.world
    world.power_off("xen2")
    fault = world.faults.start("boot-fail", 100, host="xen2")
    world.power_on("xen2")
    world.faults.stop(fault)
    await later(client, 5000)
    assert world.site.machines["xen2"].powered
    assert not world.reachable("xen2")
    world.power_off("xen2")
    world.power_on("xen2")
    await later(client, 1500)
    assert world.reachable("xen2")


async def test_power_pulled_while_booting(client: Any) -> None:
    world = client.world
    world.power_off("xen2")
    world.power_on("xen2")
    await later(client, 1)
    world.power_off("xen2")
    await later(client, 5000)
    assert not world.reachable("xen2")


async def test_every_boot_starts_the_flagged_vms_of_the_whole_pool(client: Any) -> None:
    world = client.world
    (pool,) = await client.call("pool.get_all")
    await client.call("VM.add_to_other_config", await client.vm("web2"), "auto_poweron", "true")
    world.power_off("xen3")
    world.power_on("xen3")
    await later(client, 1500)
    assert world.running_on("web2").hosts == (), "the pool does not say so"
    await client.call("pool.add_to_other_config", pool, "auto_poweron", "true")
    world.restart_toolstack("xen3")
    await later(client, 200)
    assert world.running_on("web2").hosts == (), "not a boot"
    world.power_off("xen3")
    world.power_on("xen3")
    await later(client, 1500)
    assert len(world.running_on("web2").hosts) == 1
    assert world.running_on("tied").hosts == ()


async def test_the_master_returns_with_an_older_database(client: Any) -> None:
    world = client.world
    await client.call("pool.sync_database")
    await client.call("VM.start_on", await client.vm("web2"), client.host("xen2"), False, False)
    await client.call("VM.set_name_description", await client.vm("web1"), "forgotten")
    generation = world.pool.db.generation
    fault = world.faults.start("db-rollback", 30)
    assert not world.reachable("xen1")
    world.faults.stop(fault)
    await later(client, 2)
    again = await Client(world).login()
    assert world.pool.db.generation < generation
    assert (await again.record("web1"))["name_description"] == ""
    assert (await again.record("web2"))["power_state"] == "Halted"
    assert world.running_on("web2").hosts == ("xen2",)
    assert await again.call(
        "host_metrics.get_live", await again.call("host.get_metrics", again.host("xen2"))
    )
    world.restart_toolstack("xen2")
    await later(client, 120)
    assert (await again.record("web2"))["resident_on"] == again.host("xen2")
