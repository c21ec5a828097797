"""A master dies, a slave becomes master on its own copy of the database, the rest is told."""

import asyncio
from typing import Any

import pytest

from simulator.values import ApiError, Unreachable
from simulator.world import World
from tests.simulator.conftest import Client

LOGIN = "session.login_with_password"
LOCAL_LOGIN = "session.slave_local_login_with_password"
ROOT = ["root", "secret"]


async def local(world: World, host: str, method: str, *args: Any) -> Any:
    """A call with a session of that host alone."""
    session = await world.call(host, LOCAL_LOGIN, ROOT)
    return await world.call(host, method, [session, *args])


async def refusal(world: World, host: str, method: str, *args: Any) -> list[str]:
    with pytest.raises(ApiError) as caught:
        await world.call(host, method, list(args))
    return caught.value.description


async def mute(world: World, host: str, method: str, *args: Any) -> bool:
    """Whether the host leaves a call without an answer."""
    asking = asyncio.ensure_future(world.call(host, method, list(args)))
    await asyncio.wait([asking], timeout=600)
    silent = not asking.done()
    asking.cancel()
    return silent


async def promoted(client: Any, host: str = "xen2") -> Client:
    """The master is dead and the host has become master; a client that is logged in there."""
    world = client.world
    world.power_off("xen1")
    await local(world, host, "pool.emergency_transition_to_master")
    await world.pool.clock.sleep(120)
    return await Client(world, host).login()


async def recovered(client: Any, host: str = "xen2") -> Client:
    """As ``promoted``, and the other slave follows the new master."""
    new = await promoted(client, host)
    assert await new.call("pool.recover_slaves") == [new.host("xen3")]
    await client.world.pool.clock.sleep(120)
    return new


async def test_a_slave_names_its_dead_master_for_ever(client: Any) -> None:
    world = client.world
    world.power_off("xen1")
    for _ in range(3):
        await world.pool.clock.sleep(4000)
        assert await refusal(world, "xen2", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.1"]
        assert await local(world, "xen2", "host.is_in_emergency_mode") is False
        assert await local(world, "xen2", "pool.is_slave", "x") is True


async def test_what_needs_the_database_is_not_answered(client: Any) -> None:
    world = client.world
    own = await world.call("xen2", LOCAL_LOGIN, ROOT)
    world.power_off("xen1")
    assert await mute(world, "xen2", "host.get_all", client.session)
    assert await mute(world, "xen2", "pool.get_all", own)
    waiting = asyncio.ensure_future(world.call("xen2", "host.get_all", [own]))
    world.power_on("xen1")
    assert len(await waiting) == 3, "the master is back, and the call goes on"


async def test_a_call_that_waits_for_the_database_ends_with_the_toolstack(client: Any) -> None:
    world = client.world
    world.power_off("xen1")
    waiting = asyncio.ensure_future(world.call("xen2", "host.get_all", [client.session]))
    await asyncio.sleep(1)
    world.restart_toolstack("xen2")
    with pytest.raises(Unreachable):
        await waiting


async def test_a_toolstack_that_starts_without_its_master_is_in_emergency_mode(
    client: Any,
) -> None:
    world, clock = client.world, client.world.pool.clock
    world.power_off("xen1")
    world.restart_toolstack("xen2")
    await clock.sleep(120)
    for method, args in ((LOGIN, ROOT), ("host.get_all", ["x"]), ("no.such", [])):
        assert (await refusal(world, "xen2", method, *args))[0] == "INTERNAL_ERROR"
    assert await local(world, "xen2", "host.is_in_emergency_mode") is True
    assert await local(world, "xen2", "host.ha_xapi_healthcheck") is True
    assert await refusal(world, "xen2", "host.is_in_emergency_mode", "x") == [
        "SESSION_INVALID", "x",
    ]  # fmt: skip
    assert world.running_on("mute").hosts == ("xen2",)
    world.power_on("xen1")
    await clock.sleep(1000)
    assert await refusal(world, "xen2", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.1"]
    assert await local(world, "xen2", "host.is_in_emergency_mode") is False


async def test_the_old_role_is_answered_until_the_fuse_has_burnt(client: Any) -> None:
    world = client.world
    await client.call("pool.sync_database")
    world.power_off("xen1")
    await local(world, "xen2", "pool.emergency_transition_to_master")
    for _ in range(7):
        assert await refusal(world, "xen2", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.1"]
        await asyncio.sleep(1)
    await asyncio.sleep(2)
    with pytest.raises(Unreachable):
        await world.call("xen2", LOGIN, ROOT)
    await asyncio.sleep(120)
    new = await Client(world, "xen2").login()
    assert await new.call("pool.get_master", (await new.call("pool.get_all"))[0]) == new.host(
        "xen2"
    )
    assert await refusal(world, "xen2", "host.get_all", client.session) == [
        "SESSION_INVALID", client.session,
    ]  # fmt: skip


async def test_references_survive_and_tasks_do_not(client: Any) -> None:
    before = {name: await client.vm(name) for name in ("web1", "mute", "tmpl")}
    task = await client.call("task.create", "t", "")
    await client.call("pool.sync_database")
    new = await promoted(client)
    assert before == {name: await new.vm(name) for name in before}
    assert await new.refused("task.get_record", task) == ["HANDLE_INVALID", "task", task]
    assert await new.call("task.get_all") == []
    assert await new.call("message.get_all") == []


async def test_what_was_changed_since_the_copy_is_lost(client: Any) -> None:
    await client.call("VM.set_name_description", await client.vm("web2"), "old")
    await client.world.pool.clock.sleep(301)
    await client.call("VM.set_name_description", await client.vm("web2"), "new")
    new = await promoted(client)
    assert (await new.record("web2"))["name_description"] == "old"


async def test_a_copy_holds_the_state_of_its_own_moment(client: Any) -> None:
    """A copy that was due while nothing happened is not newer for having been taken late."""
    await client.call("VM.set_name_description", await client.vm("web2"), "first")
    await client.world.pool.clock.sleep(290)
    copied = client.world.site.machines["xen2"].copy.moment
    assert copied == 0
    await client.world.pool.clock.sleep(60)
    await client.call("VM.set_name_description", await client.vm("web2"), "second")
    assert client.world.site.machines["xen2"].copy.moment == 300
    await client.call("pool.sync_database")
    assert client.world.site.machines["xen3"].copy.moment == pytest.approx(351, abs=2)


async def test_a_slave_that_is_cut_off_gets_no_copy(client: Any) -> None:
    world = client.world
    world.faults.start("net-cut", 2000, host="xen3", **{"from": "master"})
    await client.call("VM.set_name_description", await client.vm("web2"), "late")
    await client.call("pool.sync_database")
    await world.pool.clock.sleep(1000)
    await client.call("VM.set_name_description", await client.vm("web2"), "later")
    assert world.site.machines["xen3"].copy.moment == 0
    assert world.site.machines["xen2"].copy.moment > 800


async def test_a_token_of_the_old_master_hears_nothing(client: Any) -> None:
    await client.world.pool.clock.sleep(301)
    for number in range(400):
        await client.call("VM.set_name_description", await client.vm("web2"), str(number))
    token = (await client.call("event.from", ["*"], "", 0.0))["token"]
    new = await promoted(client)
    await new.call("VM.set_name_description", await new.vm("web2"), "unheard")
    batch = await new.call("event.from", ["*"], token, 30.0)
    assert (batch["events"], batch["token"]) == ([], token)
    fresh = await new.call("event.from", ["vm"], "", 30.0)
    assert {event["operation"] for event in fresh["events"]} == {"add"}


async def test_the_dead_master_is_believed_alive_for_ten_minutes(client: Any) -> None:
    world = client.world
    world.power_off("xen1")
    await world.pool.clock.sleep(2000)
    await local(world, "xen2", "pool.emergency_transition_to_master")
    await world.pool.clock.sleep(120)
    new = await Client(world, "xen2").login()
    metrics = await new.call("host.get_metrics", new.host("xen1"))
    assert await new.call("host_metrics.get_live", metrics)
    await world.pool.clock.sleep(600)
    assert not await new.call("host_metrics.get_live", metrics)


async def test_recovery_passes_over_in_silence_who_does_not_answer(client: Any) -> None:
    world = client.world
    world.power_off("xen3")
    new = await promoted(client)
    assert await new.call("pool.recover_slaves") == []
    world.power_on("xen3")
    await world.pool.clock.sleep(1000)
    assert await local(world, "xen3", "host.is_in_emergency_mode") is True
    assert await new.call("pool.recover_slaves") == [new.host("xen3")]
    await world.pool.clock.sleep(200)
    assert await refusal(world, "xen3", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.2"]
    assert await new.call("host.get_enabled", new.host("xen3"))


async def test_one_slave_can_be_told_by_hand(client: Any) -> None:
    world = client.world
    new = await promoted(client)
    await local(world, "xen3", "pool.emergency_reset_master", "127.77.0.2")
    await world.pool.clock.sleep(200)
    assert await refusal(world, "xen3", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.2"]
    assert await new.call("pool.recover_slaves") == [new.host("xen3")], "told again: nothing to do"
    session = await world.call("xen3", LOCAL_LOGIN, ROOT)
    assert await refusal(
        world, "xen3", "pool.emergency_reset_master", session, "127.77.0.3"
    ) == ["HOST_ITS_OWN_SLAVE"]  # fmt: skip


async def test_a_vm_that_moved_to_the_new_master_after_the_copy_is_ended(client: Any) -> None:
    """The copy places it where it was, so that the host where it really runs ends it."""
    await client.call("pool.sync_database")
    await client.call("VM.pool_migrate", await client.vm("web1"), client.host("xen2"), {})
    assert client.world.running_on("web1").hosts == ("xen2",)
    new = await promoted(client)
    assert client.world.running_on("web1").hosts == ()
    assert (await new.record("web1"))["power_state"] == "Running", "on the dead master"


async def test_a_vm_that_moved_away_from_the_new_master_after_the_copy_is_adopted(
    client: Any,
) -> None:
    world = client.world
    await client.call("VM.pool_migrate", await client.vm("web1"), client.host("xen2"), {})
    await client.call("pool.sync_database")
    await client.call("VM.pool_migrate", await client.vm("web1"), client.host("xen3"), {})
    new = await promoted(client)
    assert world.running_on("web1").hosts == ("xen3",)
    assert (await new.record("web1"))["power_state"] == "Halted", "not found by the new master"
    await new.call("pool.recover_slaves")
    await world.pool.clock.sleep(120)
    assert world.running_on("web1").hosts == ("xen3",), "placed nowhere by now: adopted"
    assert (await new.record("web1"))["resident_on"] == new.host("xen3")


async def test_a_vm_that_is_placed_on_the_dead_master_is_ended_elsewhere(client: Any) -> None:
    world = client.world
    await client.call("pool.sync_database")
    await client.call("VM.pool_migrate", await client.vm("web1"), client.host("xen3"), {})
    new = await recovered(client)
    assert world.running_on("web1").hosts == ()
    record = await new.record("web1")
    assert (record["power_state"], record["resident_on"]) == ("Running", new.host("xen1"))


async def test_a_vm_that_started_after_the_copy_is_adopted(client: Any) -> None:
    world = client.world
    await client.call("VM.start_on", await client.vm("web2"), client.host("xen2"), False, False)
    new = await recovered(client)
    record = await new.record("web2")
    assert (record["power_state"], record["resident_on"]) == ("Running", new.host("xen2"))
    assert world.running_on("web2").hosts == ("xen2",)
    assert world.corruption == []


async def test_a_start_before_every_host_has_joined_corrupts(client: Any) -> None:
    """The new master believes it Halted and knows of no mark on its disk."""
    world, vm = client.world, await client.vm("mute")
    await client.call("VM.hard_shutdown", vm)
    await client.call("pool.sync_database")
    await client.call("VM.start_on", vm, client.host("xen3"), False, False)
    new = await promoted(client)
    assert (await new.record("mute"))["power_state"] == "Halted"
    await new.call("VM.start_on", vm, new.host("xen2"), False, False)
    assert world.running_on("mute").hosts == ("xen2", "xen3")
    assert {case.kind for case in world.corruption} == {"double-run", "double-writer"}


async def test_a_vm_that_the_copy_does_not_know_is_ended(client: Any) -> None:
    world = client.world
    vm = await client.call("VM.clone", await client.vm("web2"), "young")
    await client.call("VM.start_on", vm, client.host("xen2"), False, False)
    uuid = (await client.record("young"))["uuid"]
    assert [domain.host for domain in world.site.domains.running(uuid)] == ["xen2"]
    new = await promoted(client)
    assert await new.call("VM.get_by_name_label", "young") == []
    assert world.site.domains.running(uuid) == []


async def test_a_vm_of_the_dead_master_is_started_again(client: Any) -> None:
    world = client.world
    await client.call("pool.sync_database")
    new = await recovered(client)
    dead, vm = new.host("xen1"), await new.vm("web1")
    assert (await new.record("web1"))["resident_on"] == dead
    assert (await new.refused("VM.start", vm, False, False))[0] == "VM_BAD_POWER_STATE"
    await new.call("host.declare_dead", dead)
    assert not await new.call("host.get_enabled", dead)
    await new.call("VM.start_on", vm, new.host("xen3"), False, False)
    assert world.running_on("web1").hosts == ("xen3",)
    assert world.corruption == []


async def test_the_old_master_returns_and_joins(client: Any) -> None:
    world = client.world
    new = await recovered(client)
    world.power_on("xen1")
    await world.pool.clock.sleep(1200)
    assert await refusal(world, "xen1", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.2"]
    assert await new.call("host.get_enabled", new.host("xen1"))
    assert await new.call(
        "host_metrics.get_live", await new.call("host.get_metrics", new.host("xen1"))
    )
    assert (await new.record("web1"))["power_state"] == "Halted"
    assert await new.call("pool.recover_slaves") == [new.host("xen1"), new.host("xen3")]


async def test_the_old_master_returns_alone_and_is_a_second_one(client: Any) -> None:
    """Two databases, two masters, one disk: what the detector is for."""
    world = client.world
    new = await recovered(client)
    await new.call("host.declare_dead", new.host("xen1"))
    await new.call("VM.start_on", await new.vm("web1"), new.host("xen3"), False, False)
    world.faults.start("net-cut", 5000, host="xen1", **{"from": "hosts"})
    world.power_on("xen1")
    await world.pool.clock.sleep(1200)
    old = await Client(world, "xen1").login()
    assert (await old.record("web1"))["power_state"] == "Halted"
    assert (await new.record("web1"))["power_state"] == "Running"
    await old.call("VM.start_on", await old.vm("web1"), old.host("xen1"), False, False)
    assert world.running_on("web1").hosts == ("xen1", "xen3")
    assert {case.kind for case in world.corruption} == {"double-run", "double-writer"}
    assert (await new.record("web1"))["resident_on"] == new.host("xen3")
    await world.pool.clock.sleep(5000)
    world.restart_toolstack("xen1")
    await world.pool.clock.sleep(200)
    assert await refusal(world, "xen1", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.2"]
    assert world.running_on("web1").hosts == ("xen3",), "its resync ends the second copy"
    assert len(world.corruption) == 2, "never forgotten"


async def test_a_slave_promoted_beside_a_healthy_master_is_a_second_one(client: Any) -> None:
    world = client.world
    await local(world, "xen2", "pool.emergency_transition_to_master")
    await world.pool.clock.sleep(120)
    new = await Client(world, "xen2").login()
    assert await client.call("pool.get_all") == await new.call("pool.get_all")
    assert (await client.record("web1"))["power_state"] == "Running"
    assert await client.refused(
        "VM.start_on", await client.vm("web2"), client.host("xen2"), False, False
    ) == ["CANNOT_CONTACT_HOST", client.host("xen2")]  # fmt: skip
    world.restart_toolstack("xen1")
    await world.pool.clock.sleep(120)
    assert await refusal(world, "xen1", LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.2"]


async def test_a_planned_change_of_masters_loses_nothing(client: Any) -> None:
    world = client.world
    await client.call("VM.set_name_description", await client.vm("web2"), "kept")
    await client.call("pool.designate_new_master", client.host("xen3"))
    await world.pool.clock.sleep(200)
    new = await Client(world, "xen3").login()
    assert (await new.record("web2"))["name_description"] == "kept"
    for host in ("xen1", "xen2"):
        assert await refusal(world, host, LOGIN, *ROOT) == ["HOST_IS_SLAVE", "127.77.0.3"]
        assert await new.call("host.get_enabled", new.host(host))
    assert world.running_on("web1").hosts == ("xen1",)
    assert (await new.record("web1"))["power_state"] == "Running"
    assert world.corruption == []


async def test_a_planned_change_needs_every_host(client: Any) -> None:
    client.world.power_off("xen2")
    assert await client.refused("pool.designate_new_master", client.host("xen3")) == [
        "CANNOT_CONTACT_HOST", client.host("xen2"),
    ]  # fmt: skip
    await client.world.pool.clock.sleep(100)
    assert await client.call("pool.get_all")


async def test_the_pools_own_ha_forbids_it_all(client: Any) -> None:
    world = client.world
    await client.call("pool.enable_ha", [], {"timeout": "60"})
    (pool,) = await client.call("pool.get_all")
    assert await client.call("pool.get_ha_enabled", pool)
    assert await client.refused("pool.designate_new_master", client.host("xen2")) == [
        "HA_IS_ENABLED",
    ]  # fmt: skip
    own = await world.call("xen2", LOCAL_LOGIN, ROOT)
    for method, args in (
        ("pool.emergency_transition_to_master", []),
        ("pool.emergency_reset_master", ["127.77.0.3"]),
    ):
        assert await refusal(world, "xen2", method, own, *args) == ["HA_IS_ENABLED"]
    await client.call("pool.disable_ha")
    assert await client.refused("pool.disable_ha") == ["HA_NOT_ENABLED"]
