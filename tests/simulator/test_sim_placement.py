"""Where a VM can go: the prechecks in their order, and the server's own choice."""

from typing import Any

import pytest

GIB = 1 << 30


async def test_the_prechecks_in_order(client: Any) -> None:
    """Each obstacle is taken away in turn; the next one is what the server then says."""
    world, host = client.world, client.host("xen3")
    db, vm = world.pool.db, await client.vm("web2")
    row = db.row("VM", vm)
    db.update(row, memory_static_max=200 * GIB, memory_dynamic_max=200 * GIB)
    db.update(row, memory_dynamic_min=200 * GIB, memory_static_min=300 * GIB, VCPUs_max=64)
    metrics = world.pool.metrics_of(db.row("host", host))
    db.update(metrics, live=False)
    await client.call("host.disable", host)
    pbd = next(p for p in db.referred(db.row("host", host), "PBDs", "PBD"))
    db.update(pbd, currently_attached=False)
    lan = next(n.ref for n in db.rows("network") if n.text("name_label") == "lan")
    dmz = next(n.ref for n in db.rows("network") if n.text("name_label") == "dmz")
    nfs = pbd.text("SR")
    need, free = str(200 * GIB + (2 + 1664 + 10) * 2**20), str(28 * GIB - 20 * 2**20)

    async def says() -> list[str]:
        refusal: list[str] = await client.refused("VM.start_on", vm, host, False, False)
        return refusal

    assert await says() == ["MEMORY_CONSTRAINT_VIOLATION"]
    db.update(row, memory_static_min=GIB)
    assert await says() == ["HOST_NOT_LIVE"]
    db.update(metrics, live=True)
    assert await says() == ["HOST_DISABLED", host]
    await client.call("host.enable", host)
    assert await says() == ["VM_REQUIRES_SR", vm, nfs]
    await client.call("PBD.plug", pbd.ref)
    assert await says() == ["VM_REQUIRES_NETWORK", vm, dmz]
    vif = (await client.record("web2"))["VIFs"][0]
    await client.call("VIF.destroy", vif)
    assert await says() == ["HOST_NOT_ENOUGH_FREE_MEMORY", need, free]
    await client.call("VM.set_memory", vm, 4 * GIB)
    assert await says() == ["HOST_NOT_ENOUGH_PCPUS", "64", "8"]
    await client.call("VM.set_VCPUs_max", vm, 2)
    await client.call("VM.start_on", vm, host, False, False)
    assert lan != dmz


async def test_force_skips_the_memory_range_and_nothing_else(client: Any) -> None:
    db, vm = client.world.pool.db, await client.vm("web2")
    db.update(db.row("VM", vm), memory_static_min=300 * GIB)
    host = client.host("xen3")
    assert (await client.refused("VM.start_on", vm, host, False, True))[0] == "VM_REQUIRES_NETWORK"
    await client.call("VM.start_on", vm, client.host("xen1"), False, True)


async def test_an_unplugged_card_and_a_network_inside_one_host(client: Any) -> None:
    db, vm = client.world.pool.db, await client.vm("web2")
    xen1, xen2 = client.host("xen1"), client.host("xen2")
    networks = {n.text("name_label"): n for n in db.rows("network")}
    pif = next(p for p in db.referred(networks["dmz"], "PIFs", "PIF") if p.text("host") == xen1)
    db.update(pif, currently_attached=False)
    refusal = await client.refused("VM.start_on", vm, xen1, False, False)
    assert refusal == ["HOST_CANNOT_ATTACH_NETWORK", xen1, networks["dmz"].ref]
    inner = networks["inner"]
    for name in ("web1", "web2"):
        vif = db.row("VIF", (await client.record(name))["VIFs"][0])
        db.update(vif, network=inner.ref)
    refusal = await client.refused("VM.start_on", vm, xen2, False, False)
    assert refusal == ["HOST_CANNOT_ATTACH_NETWORK", xen2, inner.ref]
    await client.call("network.add_to_other_config", inner.ref, "assume_network_is_shared", "true")
    await client.call("VM.start_on", vm, xen2, False, False)


async def test_possible_hosts_and_the_servers_choice(client: Any) -> None:
    vm = await client.vm("web2")
    hosts = [client.host(name) for name in ("xen1", "xen2")]
    assert await client.call("VM.get_possible_hosts", vm) == hosts
    await client.call("VM.start", vm, False, False)
    assert client.world.running_on("web2").hosts == ("xen2",), "the master comes last"
    await client.call("VM.hard_shutdown", vm)
    await client.call("VM.set_affinity", vm, hosts[0])
    await client.call("VM.start", vm, False, False)
    assert client.world.running_on("web2").hosts == ("xen1",), "affinity comes first"


async def test_no_host_has_the_memory(client: Any) -> None:
    vm = await client.vm("web2")
    await client.call("VM.set_memory", vm, 1024 * GIB)
    assert await client.refused("VM.start", vm, False, False) == ["NO_HOSTS_AVAILABLE"]


async def test_two_starts_cannot_share_the_last_memory(client: Any) -> None:
    """The reservation is made in the same moment as the check."""
    names = ("web2", "tied")
    for name in names:
        await client.call("VM.set_memory", await client.vm(name), 40 * GIB)
    tasks = [
        await client.call(
            "Async.VM.start_on", await client.vm(n), client.host("xen2"), False, False
        )
        for n in names
    ]
    ends = [await client.finished(task) for task in tasks]
    assert [end["status"] for end in ends] == ["success", "failure"]
    assert ends[1]["error_info"][0] == "HOST_NOT_ENOUGH_FREE_MEMORY"


@pytest.mark.parametrize(
    ("cpu", "reason"),
    [({"vendor": "AuthenticAMD"}, "vendor"), ({"features_hvm": "1fc9cbf4-00000000"}, "features")],
)
async def test_a_running_vm_needs_its_cpu(client: Any, cpu: dict[str, str], reason: str) -> None:
    db, host = client.world.pool.db, client.host("xen2")
    row = db.row("host", host)
    db.update(row, cpu_info={**row.map("cpu_info"), **cpu})
    vm = await client.vm("web1")
    for method, args in (("VM.pool_migrate", ({},)), ("VM.assert_can_boot_here", ())):
        refusal = await client.refused(method, vm, host, *args)
        assert refusal[:3] == ["VM_INCOMPATIBLE_WITH_THIS_HOST", vm, host]
        assert reason in refusal[3]
    await client.call("VM.pool_migrate", vm, host, {"force": "true"})
    assert client.world.running_on("web1").hosts == ("xen2",)


async def test_boot_check_of_nowhere(client: Any) -> None:
    vm = await client.vm("web2")
    assert await client.refused("VM.assert_can_boot_here", vm, "OpaqueRef:NULL") == [
        "HOST_NOT_LIVE"
    ]
    await client.call("VM.assert_can_boot_here", vm, client.host("xen1"))


async def test_agility(client: Any) -> None:
    await client.call("VM.assert_agile", await client.vm("web2"))
    refusal = await client.refused("VM.assert_agile", await client.vm("tied"))
    assert refusal[0] == "HA_CONSTRAINT_VIOLATION_SR_NOT_SHARED"
