"""The detector of corruption, provoked; and the harness that proves that it can see."""

from typing import Any


async def test_a_wrong_declaration_of_death_is_seen(client: Any) -> None:
    """A host that is cut off, not dead: its VM runs on while another host starts it again."""
    world = client.world
    world.faults.start("api-restart", 3600, host="xen2")
    await client.call("host.declare_dead", client.host("xen2"))
    assert world.corruption == []
    await client.call("VM.start_on", await client.vm("mute"), client.host("xen3"), False, False)
    assert world.running_on("mute").hosts == ("xen2", "xen3")
    kinds = {(case.kind, case.hosts) for case in world.corruption}
    assert kinds == {("double-run", ("xen2", "xen3")), ("double-writer", ("xen2", "xen3"))}


async def test_it_never_forgets(client: Any) -> None:
    await test_a_wrong_declaration_of_death_is_seen(client)
    world = client.world
    cases = list(world.corruption)
    await world.pool.clock.sleep(4000)
    assert world.running_on("mute").hosts == ("xen3",), "the returned host ends its copy"
    assert world.corruption == cases


async def test_a_lock_is_what_stands_between(client: Any) -> None:
    """The same without the declaration: the mark on the disk refuses the second start."""
    world = client.world
    world.faults.start("api-restart", 3600, host="xen2")
    vm = await client.vm("mute")
    await client.call("VM.power_state_reset", vm)
    refusal = await client.refused("VM.start_on", vm, client.host("xen3"), False, False)
    assert refusal[0] == "SR_BACKEND_FAILURE_46"
    record = await client.record("mute")
    assert (record["power_state"], record["scheduled_to_be_resident_on"]) == (
        "Halted", "OpaqueRef:NULL",
    )  # fmt: skip
    assert world.corruption == []


async def test_two_vms_that_write_one_disk(client: Any) -> None:
    db, web1 = client.world.pool.db, await client.record("web1")
    vdi = (await client.call("VBD.get_record", web1["VBDs"][0]))["VDI"]
    other = (await client.record("web2"))["VBDs"][0]
    db.update(db.row("VBD", other), VDI=vdi)
    await client.call("VM.start_on", await client.vm("web2"), client.host("xen1"), False, False)
    assert [case.kind for case in client.world.corruption] == ["double-writer"]


async def test_a_sharable_disk_or_a_reader_is_no_corruption(client: Any) -> None:
    db, web1 = client.world.pool.db, await client.record("web1")
    vdi = (await client.call("VBD.get_record", web1["VBDs"][0]))["VDI"]
    other = db.row("VBD", (await client.record("web2"))["VBDs"][0])
    db.update(other, VDI=vdi, mode="RO")
    start = ("VM.start_on", await client.vm("web2"), client.host("xen1"), False, False)
    await client.call(*start)
    await client.call("VM.hard_shutdown", await client.vm("web2"))
    db.update(other, mode="RW")
    db.update(db.row("VDI", vdi), sharable=True)
    await client.call("VM.hard_shutdown", await client.vm("web1"))
    await client.call("VM.start_on", await client.vm("web1"), client.host("xen2"), False, False)
    await client.call(*start)
    assert client.world.corruption == []
