"""Live migration: what is seen, how long it takes, and how it fails."""

from typing import Any

import pytest


async def test_what_a_migration_changes(client: Any) -> None:
    vm, xen2 = await client.vm("web1"), client.host("xen2")
    before = await client.record("web1")
    await client.call("VM.pool_migrate", vm, xen2, {"live": "true"})
    after = await client.record("web1")
    assert (after["power_state"], after["resident_on"]) == ("Running", xen2)
    assert after["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    assert after["domid"] != before["domid"]
    assert after["current_operations"] == {}
    assert after["guest_metrics"] == before["guest_metrics"]
    assert client.world.running_on("web1").hosts == ("xen2",)
    names = [m["name"] for m in (await client.call("message.get_all_records")).values()]
    assert names == ["VM_MIGRATED"]


async def test_while_it_lasts(client: Any) -> None:
    vm, xen1, xen2 = await client.vm("web1"), client.host("xen1"), client.host("xen2")
    task = await client.call("Async.VM.pool_migrate", vm, xen2, {})
    await client.world.pool.clock.sleep(4)
    record = await client.record("web1")
    assert (record["power_state"], record["resident_on"]) == ("Running", xen1)
    assert record["scheduled_to_be_resident_on"] == xen2
    assert record["current_operations"] == {task: "pool_migrate"}
    assert await client.call("host.get_current_operations", xen2) == {task: "vm_migrate"}
    assert client.world.running_on("web1").hosts == ("xen1",)
    await client.finished(task)
    assert await client.call("host.get_current_operations", xen2) == {}


@pytest.mark.parametrize("name", ["web1", "deaf"])
async def test_even_the_smallest_takes_five_seconds(client: Any, name: str) -> None:
    clock = client.world.pool.clock
    before = clock.now()
    await client.call("VM.pool_migrate", await client.vm(name), client.host("xen3"), {})
    assert 5 <= clock.now() - before < 30


async def test_migrations_of_one_host_share_its_link(client: Any) -> None:
    clock, xen3 = client.world.pool.clock, client.host("xen3")
    for name in ("web2", "tied"):
        await client.call("VM.set_memory", await client.vm(name), 8 << 30)
        await client.call("VM.start_on", await client.vm(name), client.host("xen2"), False, False)
    await clock.sleep(10)
    network = (await client.call("network.get_by_name_label", "lan"))[0]
    vif = (await client.record("web2"))["VIFs"][0]
    db = client.world.pool.db
    db.update(db.row("VIF", vif), network=network)
    before = clock.now()
    await client.call("VM.pool_migrate", await client.vm("web2"), xen3, {})
    alone = clock.now() - before
    await client.call("VM.pool_migrate", await client.vm("web2"), client.host("xen1"), {})
    before = clock.now()
    tasks = [
        await client.call("Async.VM.pool_migrate", await client.vm(n), xen3, {})
        for n in ("web2", "web1")
    ]
    for task in tasks:
        assert (await client.finished(task))["status"] == "success"
    assert clock.now() - before > alone + 3


async def test_to_where_it_is_already(client: Any) -> None:
    before = await client.record("web1")
    await client.call("VM.pool_migrate", await client.vm("web1"), client.host("xen1"), {})
    after = await client.record("web1")
    assert after["resident_on"] == before["resident_on"]
    assert after["domid"] != before["domid"]


async def test_a_failure_before_the_pause_leaves_the_vm_running(client: Any) -> None:
    client.world.faults.start("migrate-fail", 600, vm="web1", count="1")
    vm, xen1, xen2 = await client.vm("web1"), client.host("xen1"), client.host("xen2")
    refusal = await client.refused("VM.pool_migrate", vm, xen2, {})
    assert refusal[:4] == ["VM_MIGRATE_FAILED", vm, xen1, xen2]
    record = await client.record("web1")
    assert (record["power_state"], record["resident_on"]) == ("Running", xen1)
    assert record["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
    await client.call("VM.pool_migrate", vm, xen2, {})
    assert client.world.running_on("web1").hosts == ("xen2",)


@pytest.mark.parametrize("after_s", [0.5, 1.5, 2.5, 4.0])
async def test_the_target_dies(client: Any, after_s: float) -> None:
    vm = await client.vm("web1")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    await client.world.pool.clock.sleep(after_s)
    client.world.power_off("xen2")
    record = await client.finished(task)
    assert record["error_info"][0] == "VM_MIGRATE_FAILED"
    assert client.world.running_on("web1").hosts == ("xen1",)


async def test_the_source_dies(client: Any) -> None:
    vm, xen2 = await client.vm("deaf"), client.host("xen2")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen3"), {})
    await client.world.pool.clock.sleep(3)
    client.world.power_off("xen2")
    record = await client.finished(task)
    assert record["error_info"] == ["CANNOT_CONTACT_HOST", xen2]
    assert client.world.running_on("deaf").hosts == ()
    after = await client.record("deaf")
    assert (after["power_state"], after["resident_on"]) == ("Running", xen2)


async def test_the_guest_stops_on_the_way(client: Any) -> None:
    vm = await client.vm("web1")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    await client.world.pool.clock.sleep(3)
    client.world.guest_powers_off("web1")
    record = await client.finished(task)
    assert record["error_info"] == ["VM_BAD_POWER_STATE", vm, "running", "halted"]
    assert client.world.running_on("web1").hosts == ()
    after = await client.record("web1")
    assert (after["power_state"], after["scheduled_to_be_resident_on"]) == (
        "Halted", "OpaqueRef:NULL",
    )  # fmt: skip


async def test_a_target_that_does_not_answer(client: Any) -> None:
    vm, xen2 = await client.vm("web1"), client.host("xen2")
    client.world.power_off("xen2")
    refusal = await client.refused("VM.pool_migrate", vm, xen2, {})
    assert refusal == ["CANNOT_CONTACT_HOST", xen2]
    await client.world.pool.clock.sleep(601)
    assert await client.refused("VM.pool_migrate", vm, xen2, {}) == ["HOST_NOT_LIVE"]


async def test_the_master_forgets_but_the_slaves_go_on(client: Any) -> None:
    """The toolstack of the master restarts during a migration between two slaves: the task
    vanishes, and the VM arrives all the same."""
    vm = await client.vm("deaf")
    await client.call("Async.VM.pool_migrate", vm, client.host("xen3"), {})
    await client.world.pool.clock.sleep(3)
    client.world.restart_toolstack("xen1")
    await client.world.pool.clock.sleep(0.1)
    assert not client.world.reachable("xen1")
    await client.world.pool.clock.sleep(120)
    await client.login()
    assert await client.call("task.get_all") == []
    record = await client.record("deaf")
    assert record["resident_on"] == client.host("xen3")
    assert client.world.running_on("deaf").hosts == ("xen3",)
    assert client.world.corruption == []
    assert [e.outcome for e in client.world.log if e.method == "VM.pool_migrate"] == ["success"]


async def test_a_source_that_is_not_heard_leaves_no_reservation(client: Any) -> None:
    client.world.faults.start("net-cut", 60, host="xen2", **{"from": "hosts"})
    deaf, xen3 = await client.vm("deaf"), client.host("xen3")
    refusal = await client.refused("VM.pool_migrate", deaf, xen3, {})
    assert refusal == ["CANNOT_CONTACT_HOST", client.host("xen2")]
    assert (await client.record("deaf"))["scheduled_to_be_resident_on"] == "OpaqueRef:NULL"
