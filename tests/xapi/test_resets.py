"""Which VMs somebody else seems to have reset, by batches of records."""

from __future__ import annotations

from typing import Any

import pytest

from tests.xapi.recorded_pool import VM, Pool

UP: dict[str, Any] = {**VM, "resident_on": "host1"}
OFF: dict[str, Any] = {**VM, "power_state": "Halted"}
RESET = {"uuid": "u-t1", "name_label": "Async.VM.power_state_reset"}
PENDING = {**RESET, "status": "pending"}
OURS = {"cxm:txn": "cxm-3-7"}


def running() -> Pool:
    pool = Pool()
    pool.put("vm", "vm1", UP)
    return pool


@pytest.mark.parametrize(
    "name", ["VM.power_state_reset", "Async.VM.power_state_reset", "Async.host.declare_dead"]
)
@pytest.mark.parametrize("status", ["pending", "success"])
def test_a_vm_halted_beside_a_foreign_reset_is_told(name: str, status: str) -> None:
    pool = running()
    assert pool.seen().resets == ()
    task = {"uuid": "u-t1", "name_label": name, "status": status}
    pool.change([("task", "t1", task), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ("u-vm1",)


def test_it_is_told_although_the_task_is_gone_in_the_same_batch() -> None:
    pool = running()
    pool.put("task", "t1", PENDING)
    pool.change([("task", "t1", None), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ("u-vm1",)


def test_our_own_reset_is_not_told() -> None:
    pool = running()
    task = {**PENDING, "other_config": OURS}
    pool.change([("task", "t1", task), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ()


def test_our_own_reset_is_told_until_its_task_is_tagged() -> None:
    pool = running()
    pool.change([("task", "t1", PENDING), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ("u-vm1",)
    pool.put("task", "t1", {**RESET, "status": "success", "other_config": OURS})
    assert pool.seen().resets == ()
    pool.drop("task", "t1")
    assert pool.seen().resets == ()


def test_a_foreign_reset_beside_our_own_leaves_the_suspicion() -> None:
    pool = running()
    ours = {**PENDING, "uuid": "u-t2", "other_config": OURS}
    pool.change([("task", "t1", PENDING), ("task", "t2", ours), ("vm", "vm1", OFF)])
    pool.drop("task", "t1")
    pool.drop("task", "t2")
    assert pool.seen().resets == ("u-vm1",)


@pytest.mark.parametrize(
    "task", [{**PENDING, "name_label": "Async.VM.clean_shutdown"}, {**PENDING, "name_label": ""}]
)
def test_another_task_resets_nothing(task: dict[str, Any]) -> None:
    pool = running()
    pool.change([("task", "t1", task), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ()


def test_a_guest_that_switches_itself_off_is_not_told() -> None:
    pool = running()
    pool.put("vm", "vm1", OFF)
    assert pool.seen().resets == ()


def test_a_reset_that_is_long_over_betrays_nothing() -> None:
    pool = running()
    pool.put("task", "t1", {**RESET, "status": "success"})
    pool.put("vm", "vm1", OFF)
    assert pool.seen().resets == ()


def test_a_vm_that_is_being_shut_down_is_halted_by_that() -> None:
    pool = running()
    off = {**OFF, "current_operations": {"t9": "clean_shutdown"}}
    pool.change([("task", "t1", PENDING), ("vm", "vm1", off)])
    assert pool.seen().resets == ()


@pytest.mark.parametrize("power", ["Suspended", "Halted"])
def test_a_vm_without_a_domain_in_the_records_is_not_told(power: str) -> None:
    pool = Pool()
    pool.put("vm", "vm1", VM, power_state=power)
    pool.change([("task", "t1", PENDING), ("vm", "vm1", OFF)])
    assert pool.seen().resets == ()


def test_it_is_told_until_the_vm_runs_again_or_is_gone() -> None:
    pool = running()
    pool.put("vm", "vm2", {**UP, "uuid": "u-vm2"})
    off2 = {**OFF, "uuid": "u-vm2"}
    pool.change([("task", "t1", PENDING), ("vm", "vm1", OFF), ("vm", "vm2", off2)])
    pool.drop("task", "t1")
    pool.put("vm", "vm1", OFF, tags=["changed"])
    assert pool.seen().resets == ("u-vm1", "u-vm2")
    pool.put("vm", "vm1", UP)
    assert pool.seen().resets == ("u-vm2",)
    pool.drop("vm", "vm2")
    assert pool.seen().resets == ()


# --- what the locks betray ------------------------------------------------------------------------

DISK = {"uuid": "u-vdi1", "SR": "sr1", "VBDs": ["b1"]}
HELD = {"host_host1": "RW"}


def with_disk(mode: str = "RW") -> Pool:
    pool = Pool()
    pool.put("vbd", "b1", {"uuid": "u-b1", "VM": "vm1", "VDI": "vdi1", "mode": mode})
    pool.put("vdi", "vdi1", DISK, sm_config=HELD)
    pool.put("vm", "vm1", UP, VBDs=["b1"])
    return pool


def test_a_vm_that_left_its_disk_locked_is_told_until_the_lock_is_freed() -> None:
    pool = with_disk()
    pool.put("vm", "vm1", OFF, VBDs=["b1"])
    assert pool.seen().resets == ("u-vm1",)
    pool.put("vdi", "vdi1", DISK, sm_config={})
    assert pool.seen().resets == ()
    pool.put("vdi", "vdi1", DISK, sm_config=HELD)
    assert pool.seen().resets == ()


def test_a_vm_that_runs_again_has_its_lock_by_right() -> None:
    pool = with_disk()
    pool.put("vm", "vm1", OFF, VBDs=["b1"])
    pool.put("vm", "vm1", UP, VBDs=["b1"])
    assert pool.seen().resets == ()


@pytest.mark.parametrize(
    ("mode", "marks"),
    [("RW", {}), ("RW", {"host_host2": "RW"}), ("RO", HELD)],
)
def test_a_lock_of_another_or_on_what_is_only_read_betrays_nothing(
    mode: str, marks: dict[str, str]
) -> None:
    pool = with_disk(mode)
    off = {**OFF, "VBDs": ["b1"]}
    pool.change([("vdi", "vdi1", {**DISK, "sm_config": marks}), ("vm", "vm1", off)])
    assert pool.seen().resets == ()


def test_our_own_reset_leaves_the_lock_as_well() -> None:
    pool = with_disk()
    task = {**PENDING, "other_config": OURS}
    pool.change([("task", "t1", task), ("vm", "vm1", {**OFF, "VBDs": ["b1"]})])
    assert pool.seen().resets == ()
