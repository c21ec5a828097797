"""The memory arithmetic, against worked examples and recorded answers."""

from typing import Any

import pytest

from simulator.memory import MIB, overhead

GIB = 1024 * MIB


@pytest.mark.parametrize(
    ("kind", "vcpus", "static_mib", "expected_mib"),
    [
        ("hvm", 2, 4096, 37),
        ("hvm", 1, 256, 6),
        ("pvh", 2, 4096, 37),
        ("pv", 2, 4096, 36),
        ("pv_in_pvh", 2, 4096, 105),
        ("hvm", 16, 65536, 533),
    ],
)
def test_overhead(kind: str, vcpus: int, static_mib: int, expected_mib: int) -> None:
    assert overhead(kind, vcpus, static_mib * MIB, 1.0) == expected_mib * MIB


def test_the_shadow_multiplier_scales_only_the_shadow() -> None:
    assert overhead("hvm", 2, 4096 * MIB, 2.0) == (37 + 34) * MIB


async def test_free_memory_counts_dom0_residents_and_reservations(client: Any) -> None:
    dom0 = 4 * GIB + 20 * MIB
    web1 = 4 * GIB + 37 * MIB
    xen1 = client.host("xen1")
    assert await client.call("host.compute_free_memory", xen1) == 64 * GIB - dom0 - web1
    starting = await client.call("Async.VM.start_on", await client.vm("web2"), xen1, False, False)
    await client.world.pool.clock.sleep(0.5)
    record = await client.record("web2")
    assert record["scheduled_to_be_resident_on"] == xen1
    assert await client.call("host.compute_free_memory", xen1) == 64 * GIB - dom0 - 2 * web1
    await client.finished(starting)
    assert await client.call("host.compute_free_memory", xen1) == 64 * GIB - dom0 - 2 * web1


async def test_a_migrating_vm_counts_on_both_hosts(client: Any) -> None:
    free = {
        h: await client.call("host.compute_free_memory", client.host(h)) for h in ("xen1", "xen2")
    }
    vm = await client.vm("web1")
    task = await client.call("Async.VM.pool_migrate", vm, client.host("xen2"), {})
    await client.world.pool.clock.sleep(3)
    need = 4 * GIB + 37 * MIB
    xen1, xen2 = client.host("xen1"), client.host("xen2")
    assert await client.call("host.compute_free_memory", xen1) == free["xen1"]
    assert await client.call("host.compute_free_memory", xen2) == free["xen2"] - need
    await client.finished(task)
    assert await client.call("host.compute_free_memory", xen1) == free["xen1"] + need
    assert await client.call("host.compute_free_memory", xen2) == free["xen2"] - need


async def test_maximise_memory_as_recorded(client: Any) -> None:
    """1 GiB for a VM of one vCPU: 940 MiB if approximate (counted with 64 vCPUs), 1012 exactly."""
    vm = await client.vm("tied")
    assert await client.call("VM.maximise_memory", vm, 1 * GIB, True) == 985661440
    exact = await client.call("VM.maximise_memory", vm, 1 * GIB, False)
    assert (
        exact + overhead("hvm", 1, exact, 1.0)
        <= GIB
        < exact + MIB + overhead("hvm", 1, exact + MIB, 1.0)
    )


async def test_limits_must_be_in_order_and_are_left_alone_if_not(client: Any) -> None:
    vm = await client.vm("web2")
    before = await client.record("web2")
    args = (128 * MIB, 2 * GIB, 3 * GIB, 3 * GIB)
    assert await client.refused("VM.set_memory_limits", vm, *args) == [
        "MEMORY_CONSTRAINT_VIOLATION"
    ]
    after = await client.record("web2")
    assert after["memory_static_max"] == before["memory_static_max"]
    assert after["memory_static_min"] == before["memory_static_min"]


async def test_set_memory_sets_all_and_the_overhead(client: Any) -> None:
    vm = await client.vm("web2")
    await client.call("VM.set_memory", vm, 8 * GIB)
    record = await client.record("web2")
    sizes = [record[f"memory_{n}"] for n in ("static_max", "dynamic_max", "dynamic_min")]
    assert sizes == [8 * GIB] * 3
    assert record["memory_overhead"] == overhead("hvm", 2, 8 * GIB, 1.0)


async def test_a_dynamic_range_changes_live_a_static_one_does_not(client: Any) -> None:
    vm = await client.vm("web1")
    refusal = await client.refused("VM.set_memory_static_range", vm, GIB, 4 * GIB)
    assert refusal == ["VM_BAD_POWER_STATE", vm, "halted", "running"]
    await client.call("VM.set_memory_dynamic_range", vm, 2 * GIB, 3 * GIB)
    record = await client.record("web1")
    assert (record["memory_dynamic_min"], record["memory_target"]) == (2 * GIB, 3 * GIB)


async def test_vcpus(client: Any) -> None:
    vm = await client.vm("web2")
    assert await client.refused("VM.set_VCPUs_at_startup", vm, 4) == [
        "INVALID_VALUE", "VCPUs_at_startup", "4",
    ]  # fmt: skip
    await client.call("VM.set_VCPUs_max", vm, "4")
    await client.call("VM.set_VCPUs_at_startup", vm, 4)
    assert await client.refused("VM.set_VCPUs_max", vm, 2) == ["INVALID_VALUE", "VCPUs_max", "2"]
    running = await client.vm("web1")
    assert await client.refused("VM.set_VCPUs_max", running, 1) == [
        "VM_BAD_POWER_STATE", running, "halted", "running",
    ]  # fmt: skip
    await client.call("VM.set_VCPUs_number_live", running, 1)
    metrics = (await client.record("web1"))["metrics"]
    assert await client.call("VM_metrics.get_VCPUs_number", metrics) == 1
