"""XenAPI's arithmetic of memory, and the reach of a node, in numbers worked out by hand."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Ledger
from membership.view import single
from reconciler.actions import Action, Plan, SetMemory
from reconciler.deaths import calm
from reconciler.diff import diff
from reconciler.journal import JournalState
from reconciler.memory import free, need, need_after, overhead, room
from reconciler.observed import Disk, Observed, ObservedVM, Operation, PowerState
from reconciler.plan import plan
from schema.model import Desired
from tests.core.stage import desired, pool
from tests.plan.expansion import MONO_S, identity
from tests.plan.rows import rows

START = desired(nodes={"xen1": {}}, vms={"web1": {"state": "running"}})
CORDON = desired(nodes={"xen1": {"schedulable": False}})
MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("kind", "vcpus", "static_gib", "multiplier", "mib"),
    [
        ("hvm", 2, 4, 1.0, 37),  # 2 + (2*256 + 2*4096)/256 + 1
        ("pvh", 2, 4, 1.0, 37),
        ("hvm", 1, 0.0625, 1.0, 5),  # 2 + ceil((256 + 128)/256) + 1
        ("hvm", 2, 4, 2.0, 71),
        ("hvm", 2, 4, 0.001, 4),  # shadow is never below one
        ("hvm", 32, 64, 1.0, 551),  # 2 + (8192 + 131072)/256 + ceil(1216/256)
        ("pv", 2, 4, 1.0, 35),
        ("pv_in_pvh", 2, 4, 1.0, 106),  # 2 + 34 + 23 + ceil(4096/90) + 1
    ],
)
def test_overhead(kind: str, vcpus: int, static_gib: float, multiplier: float, mib: int) -> None:
    assert overhead(kind, vcpus, int(static_gib * GIB), multiplier) == mib * MIB


VM = ObservedVM(
    uuid="vm",
    name="web",
    power=PowerState.HALTED,
    dynamic_min=2 * GIB,
    dynamic_max=4 * GIB,
    static_max=4 * GIB,
    overhead=37 * MIB,
    vcpus_max=2,
)


def test_a_vm_needs_its_dynamic_minimum_and_its_overhead() -> None:
    assert need(VM) == 2 * GIB + 37 * MIB
    assert need(replace(VM, domain_type="pv_in_pvh")) == 4 * GIB + 37 * MIB


def test_a_new_size_is_foreseen_with_the_overhead_that_it_will_have() -> None:
    assert need_after(VM, None, None) == need(VM)
    assert need_after(VM, 8 * GIB, None) == 8 * GIB + 69 * MIB
    assert need_after(VM, None, 4) == 2 * GIB + 39 * MIB
    assert need_after(replace(VM, domain_type="pv_in_pvh"), None, 2) == 4 * GIB + 106 * MIB


def test_what_is_free_is_never_less_than_nothing() -> None:
    tree = desired(nodes={"xen1": {}})
    full = {"nodes": {"xen1": {"memory": "4GiB"}}, "vms": {"a": {"on": "xen1", "memory": "8GiB"}}}
    seen = pool(tree, **full)
    assert free(seen.nodes[identity("host", "xen1")], room(seen, ())) == 0


def test_memory_lowered_below_the_static_minimum_lowers_that_too() -> None:
    tree = desired(nodes={"xen1": {}}, vms={"web1": {"memory": "1GiB"}, "web2": {"memory": "4GiB"}})
    low = {"memory": "2GiB", "static_min": "2GiB"}
    calls = [action.call for action in planned(tree, pool(tree, vms={"web1": low, "web2": low}))]
    sizes = [(c.size, c.static_min) for c in calls if isinstance(c, SetMemory)]
    assert sizes == [(GIB, GIB), (4 * GIB, 2 * GIB)]


def test_a_disk_of_which_the_pool_shows_nothing_is_not_an_empty_drive() -> None:
    seen = pool(START, vms={"web1": {}})
    uuid = identity("vm", "web1")
    hidden = Disk(vbd="vbd", kind="Disk", known=False)
    vm = replace(seen.vms[uuid], disks=(hidden,))
    found = rows(full_plan(START, replace(seen, vms={uuid: vm})), MONO_S)
    assert found == ["blocked vm/web1 start StorageUnknown"]


# --- operations of a node ---------------------------------------------------------------------------

NOW = Now(mono_s=MONO_S, epoch_s=0.0)


def planned(tree: Desired, seen: Observed) -> tuple[Action, ...]:
    return full_plan(tree, seen).actions


def full_plan(tree: Desired, seen: Observed) -> Plan:
    drift = diff(tree, seen, Ledger(), JournalState(), calm(seen, Ledger()), {}, NOW)
    view = single("here", 1)
    return plan(drift, tree, seen, view, Ledger(), JournalState(), None, NOW)


def busy(tree: Desired, kind: str, txn: str = "", **forms: object) -> list[str]:
    """The rows of the plan while xen1 is at this operation."""
    seen = pool(tree, **forms)
    uuid = identity("host", "xen1")
    node = replace(seen.nodes[uuid], operations=(Operation(kind=kind, txn=txn),))
    return rows(full_plan(tree, replace(seen, nodes={uuid: node})), MONO_S)


@pytest.mark.parametrize("kind", ["evacuate", "shutdown", "reboot"])
def test_a_node_that_goes_down_takes_no_vm(kind: str) -> None:
    assert busy(START, kind, vms={"web1": {}}) == ["blocked vm/web1 start GoingDown"]


@pytest.mark.parametrize("kind", ["vm_start", "vm_migrate", "vm_resume"])
def test_a_node_that_takes_another_vm_takes_this_one_too(kind: str) -> None:
    found = busy(START, kind, vms={"web1": {}})
    assert found == ["start vm/web1 on xen1 [intent: NotRunning]"]


def test_a_node_on_which_somebody_else_works_is_left_alone() -> None:
    assert busy(CORDON, "apply_updates") == ["blocked node/xen1 cordon ForeignOperation"]


def test_a_vm_that_moves_is_no_work_on_its_node() -> None:
    assert busy(CORDON, "vm_migrate") == ["cordon node/xen1 [intent: Cordoned]"]


def test_a_call_of_ours_on_a_node_is_waited_for() -> None:
    assert busy(CORDON, "enable", "cxm-1-3") == ["waits node/xen1 cordon on in-flight"]
