"""Records -> what a recovery goes by: locks, firmware, hints at a boot, servers that fence themselves."""

from __future__ import annotations

import pytest

from tests.xapi.recorded_pool import HOST, Pool

HELD = {"host_host1": "RW", "vhd-parent": "x", "host_OpaqueRef:gone": "RO"}


def with_disk(pool: Pool) -> None:
    pool.put("sr", "sr1", {"uuid": "u-sr1"})
    pool.put("vbd", "b1", {"uuid": "u-b1", "VM": "vm1", "VDI": "vdi1"})
    pool.put("vdi", "vdi1", {"uuid": "u-vdi1", "SR": "sr1", "VBDs": ["b1"]}, sm_config=HELD)
    pool.vm(VBDs=["b1"])


def locked_by(pool: Pool) -> tuple[str, ...]:
    (disk,) = pool.seen().vms["u-vm1"].disks
    return disk.locked_by


def test_a_disk_shows_who_has_locked_it() -> None:
    pool = Pool()
    with_disk(pool)
    assert locked_by(pool) == ("OpaqueRef:gone", "u-host1")
    assert pool.seen() == pool.afresh()
    pool.put("vdi", "vdi1", {"uuid": "u-vdi1", "SR": "sr1", "VBDs": ["b1"]}, sm_config={})
    assert locked_by(pool) == ()


def test_the_mark_of_a_host_that_left_the_pool_stays_a_lock() -> None:
    pool = Pool()
    with_disk(pool)
    pool.drop("host", "host1")
    assert locked_by(pool) == ("OpaqueRef:gone", "host1")
    pool.put("host", "host1", HOST)
    assert locked_by(pool) == ("OpaqueRef:gone", "u-host1")


def test_an_empty_drive_is_locked_by_nobody() -> None:
    pool = Pool()
    with_disk(pool)
    pool.put("vbd", "b1", {"uuid": "u-b1", "VM": "vm1", "VDI": "vdi1", "empty": True})
    assert locked_by(pool) == ()


def test_a_node_shows_what_a_fence_device_can_be_compared_with() -> None:
    strings = {"system-serial-number": "S1", "baseboard-serial-number": "B1", "oem-1": "Xen"}
    node = Pool().node(bios_strings=strings, power_on_mode="IPMI")
    assert (node.serial, node.board_serial, node.power_on_mode) == ("S1", "B1", "IPMI")
    bare = Pool().node()
    assert (bare.serial, bare.board_serial, bare.power_on_mode) == ("", "", "")


def test_a_boot_time_that_wavers_hints_at_the_same_boot() -> None:
    pool = Pool()
    hints = [
        pool.node(other_config={"boot_time": text}).boot_hint
        for text in ("1795327367.", "1795327370.4", "", "1795329367.")
    ]
    assert hints == ["1795327367", "1795327367", "1795327367", "1795329367"]
    assert pool.node(other_config={}).boot_hint == "1795329367"


def test_a_toolstack_that_starts_anew_hints_at_the_same_boot() -> None:
    pool = Pool()
    before = pool.node(other_config={"boot_time": "1795327367.", "agent_start_time": "1795331014."})
    pool.node(other_config={})
    after = pool.node(other_config={"boot_time": "1795327368.", "agent_start_time": "1795331806."})
    assert before.boot_hint == after.boot_hint


def test_a_clock_that_was_set_hints_at_a_boot_that_never_was() -> None:
    """Why the hint proves nothing: with the clock an hour further, the next start of the toolstack
    works out a boot an hour later."""
    pool = Pool()
    before = pool.node(other_config={"boot_time": "1795327367."})
    after = pool.node(other_config={"boot_time": "1795330967."})
    assert before.boot_hint != after.boot_hint


@pytest.mark.parametrize("record", [{"uuid": "u-c1"}, {"uuid": 7}])
def test_servers_that_form_a_cluster_fence_themselves(record: dict[str, object]) -> None:
    pool = Pool()
    assert not pool.seen().pool.fences_itself
    pool.put("cluster_host", "c1", record)
    assert pool.seen().pool.fences_itself
    pool.drop("cluster_host", "c1")
    assert not pool.seen().pool.fences_itself
