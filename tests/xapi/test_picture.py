"""Records -> picture: each field that needs a judgement, and that increments add up."""

from __future__ import annotations

import random
from typing import Any

import pytest

from reconciler.observed import PowerState
from tests.xapi.recorded_pool import HOST, POOL, VM, Pool
from xapi.building import MOST_ADDRESSES
from xapi.records import CLASSES


@pytest.mark.parametrize(
    ("fields", "domain"),
    [
        ({"domain_type": "hvm"}, "hvm"),
        ({"domain_type": "pv"}, "pv"),
        ({"domain_type": "pvh"}, "pvh"),
        ({"domain_type": "pv_in_pvh"}, "pv_in_pvh"),
        ({"domain_type": "unspecified", "HVM_boot_policy": "BIOS order"}, "hvm"),
        ({"domain_type": "unspecified", "HVM_boot_policy": ""}, "pv"),
        ({}, "pv"),
    ],
)
def test_domain_type(fields: dict[str, Any], domain: str) -> None:
    assert Pool().vm(**fields).domain_type == domain


@pytest.mark.parametrize("text", ["Crashed", "", "running"])
def test_a_power_state_that_we_do_not_know_is_unknown(text: str) -> None:
    assert Pool().vm(power_state=text).power is PowerState.UNKNOWN


@pytest.mark.parametrize(
    ("guest", "fields", "tools"),
    [
        (None, {}, False),
        ({"PV_drivers_detected": True}, {}, True),
        ({"PV_drivers_detected": False}, {}, False),
        ({"other": {"feature-suspend": "1", "feature-shutdown": "1"}}, {}, True),
        ({"other": {"feature-suspend": "1"}}, {}, False),
        (None, {"domain_type": "pv"}, True),
        (None, {"power_state": "Halted"}, True),
    ],
)
def test_tools(guest: dict[str, Any] | None, fields: dict[str, Any], tools: bool) -> None:
    pool = Pool()
    if guest is not None:
        pool.put("vm_guest_metrics", "gm1", {"uuid": "u-gm1"}, **guest)
    fields = {"domain_type": "hvm", "guest_metrics": "gm1", **fields}
    assert pool.vm(**fields).has_tools is tools


@pytest.mark.parametrize(
    ("guest", "reported"),
    [
        (None, False),
        ({}, False),
        # A kernel without an agent.
        ({"PV_drivers_detected": True, "other": {"feature-suspend": "1"}}, False),
        ({"PV_drivers_version": {"major": "7"}}, True),
        ({"os_version": {"distro": "debian"}}, True),
        ({"networks": {"0/ip": "192.0.2.5"}}, True),
        # What is left of a guest that is gone.
        ({"networks": {"0/ip": "192.0.2.5"}, "live": False}, False),
    ],
)
def test_reported(guest: dict[str, Any] | None, reported: bool) -> None:
    pool = Pool()
    if guest is not None:
        pool.put("vm_guest_metrics", "gm1", {"uuid": "u-gm1"}, **guest)
    assert pool.vm(guest_metrics="gm1", power_state="Running").reported is reported


def test_addresses_are_those_by_which_others_reach_the_guest() -> None:
    pool = Pool()
    networks = {
        "1/ip": "198.51.100.7",
        "0/ipv6/0": "fe80:0000:0000:0000:0216:3eff:fe00:0001",
        "0/ipv6/1": "2001:0db8:0000:0000:0000:0000:0000:0005",
        "0/ipv4/0": "192.0.2.5",
        "0/ipv4/1": "127.0.0.1",
        "0/ip": "192.0.2.5",
        "2/ip": "224.0.0.1",
        "3/ip": "-O /tmp/x",
        "4/name": "192.0.2.9",
    }
    pool.put("vm_guest_metrics", "gm1", {"uuid": "u-gm1", "networks": networks})
    addresses = pool.vm(guest_metrics="gm1").addresses
    assert addresses == ("192.0.2.5", "2001:db8::5", "198.51.100.7")
    many = {f"{number}/ip": f"192.0.2.{number}" for number in range(1, 100)}
    pool.put("vm_guest_metrics", "gm1", {"uuid": "u-gm1", "networks": many})
    assert len(pool.seen().vms["u-vm1"].addresses) == MOST_ADDRESSES


@pytest.mark.parametrize(
    ("date", "epoch_s"),
    [
        ("20260822T10:15:30Z", 1787393730.0),
        ("20260822T10:15:30", 1787393730.0),
        ("19700101T00:00:00Z", 0.0),
        ("", 0.0),
        ("soon", 0.0),
    ],
)
def test_the_date_of_its_start(date: str, epoch_s: float) -> None:
    pool = Pool()
    pool.put("vm_metrics", "m1", {"uuid": "u-m1", "start_time": date})
    assert pool.vm(metrics="m1").started_epoch_s == epoch_s


@pytest.mark.parametrize(
    ("fields", "metrics", "word"),
    [
        ({}, None, ""),
        ({"attached_PCIs": ["p"]}, None, "PCI"),
        ({"VGPUs": ["g"]}, None, "GPU"),
        ({"VUSBs": ["u"]}, None, "USB"),
        ({"platform": {"nomigrate": "true"}}, None, "nomigrate"),
        ({"platform": {"exp-nested-hvm": "true"}}, None, "nested"),
        # How it was booted counts, not what its platform says since.
        ({"platform": {"nomigrate": "true"}}, {"nomigrate": False}, ""),
        ({}, {"nested_virt": True}, "nested"),
    ],
)
def test_immobile(fields: dict[str, Any], metrics: dict[str, Any] | None, word: str) -> None:
    pool = Pool()
    if metrics is not None:
        pool.put("vm_metrics", "m1", {"uuid": "u-m1"}, **metrics)
    reason = pool.vm(metrics="m1", **fields).immobile
    assert word in reason
    assert bool(reason) == bool(word)


@pytest.mark.parametrize(
    ("crash", "start", "crashed"),
    [
        ("20260822T10:15:31Z", "20260822T10:15:30Z", True),
        ("20260822T10:15:31", "20260822T10:15:30Z", True),
        ("20260822T10:15:30Z", "20260822T10:15:30", False),
        ("20260822T10:15:29Z", "20260822T10:15:30Z", False),
    ],
)
def test_crashed_since_its_start(crash: str, start: str, crashed: bool) -> None:
    pool = Pool()
    pool.put("vm_metrics", "m1", {"uuid": "u-m1", "start_time": start})
    pool.vm(metrics="m1", power_state="Halted")
    told = {"uuid": "u-msg", "name": "VM_CRASHED", "obj_uuid": "u-vm1", "timestamp": crash}
    pool.put("message", "msg1", told)
    assert pool.seen().vms["u-vm1"].crashed is crashed
    pool.put("message", "msg2", {**told, "uuid": "u-2", "timestamp": "19990101T00:00:00Z"})
    pool.put("message", "msg3", {**told, "uuid": "u-3", "name": "VM_STARTED"})
    assert pool.seen().vms["u-vm1"].crashed is crashed


def test_drives() -> None:
    pool = Pool()
    pool.put("sr", "sr1", {"uuid": "u-sr1", "name_label": "nfs", "type": "nfs", "shared": True})
    pool.put("vdi", "vdi1", {"uuid": "u-vdi1", "SR": "sr1"})
    pool.put("vbd", "b1", {"uuid": "u-b1", "VM": "vm1", "VDI": "vdi1", "type": "Disk"})
    pool.put("vbd", "b2", {"uuid": "u-b2", "VM": "vm1", "type": "CD", "mode": "RO", "empty": True})
    disk, drive = pool.vm(VBDs=["b2", "b1"]).disks
    assert (disk.kind, disk.vdi, disk.sr, disk.read_only) == ("Disk", "u-vdi1", "u-sr1", False)
    assert (drive.kind, drive.vdi, drive.sr, drive.read_only) == ("CD", None, None, True)


def test_a_suspend_image_ties_to_its_storage() -> None:
    pool = Pool()
    pool.put("vdi", "vdi1", {"uuid": "u-vdi1", "SR": "sr1"})
    assert pool.vm(suspend_VDI="vdi1", power_state="Suspended").suspend_sr is None
    pool.put("sr", "sr1", {"uuid": "u-sr1"})
    assert pool.seen().vms["u-vm1"].suspend_sr == "u-sr1"


def test_only_what_is_attached_counts_on_a_node() -> None:
    pool = Pool()
    pool.put("sr", "sr1", {"uuid": "u-sr1"})
    pool.put("network", "n1", {"uuid": "u-n1", "PIFs": ["pif1"]})
    pool.put("network", "n2", {"uuid": "u-n2"})
    shared = {"assume_network_is_shared": "true"}
    pool.put("network", "n3", {"uuid": "u-n3", "other_config": shared})
    pool.node(PBDs=["pbd1"], PIFs=["pif1"])
    for attached in (True, False):
        there = {"host": "host1", "currently_attached": attached}
        pool.put("pbd", "pbd1", {"uuid": "u-pbd1", "SR": "sr1", **there})
        pool.put("pif", "pif1", {"uuid": "u-pif1", "network": "n1", **there})
        node = pool.seen().nodes["u-host1"]
        assert node.srs == ({"u-sr1"} if attached else set())
        assert node.networks == {"u-n2", "u-n3"} | ({"u-n1"} if attached else set())
    internal = {network.uuid for network in pool.seen().networks.values() if network.internal}
    assert internal == {"u-n2"}


def test_the_control_domains_weigh_on_their_node() -> None:
    pool = Pool()
    for number in (1, 2):
        pool.put(
            "vm",
            f"dom0-{number}",
            {"uuid": f"u-dom0-{number}", "is_control_domain": True, "resident_on": "host1"},
            memory_dynamic_min=40,
            memory_overhead=2,
        )
    assert pool.node().control_memory == 84
    assert pool.seen().vms == {}
    pool.drop("vm", "dom0-2")
    assert pool.seen().nodes["u-host1"].control_memory == 42


def test_the_start_of_the_masters_toolstack_is_kept_while_it_is_not_to_be_seen() -> None:
    pool = Pool()
    pool.put("host", "host2", {"uuid": "u-host2", "other_config": {"agent_start_time": "5."}})
    assert pool.seen().pool.toolstack_started_epoch_s == 0.0
    started = []
    for config in ({"agent_start_time": "1795331679."}, {}, {"agent_start_time": "nan"}):
        pool.put("host", "host1", HOST, other_config=config)
        started.append(pool.seen().pool.toolstack_started_epoch_s)
    assert started == [1795331679.0] * 3
    pool.put("pool", "pool1", POOL, master="host2")
    assert pool.seen().pool.toolstack_started_epoch_s == 5.0


@pytest.mark.parametrize(
    ("config", "term", "holder"),
    [
        ({}, 0, ""),
        ({"cxm-term-2": "xen2 n2", "cxm-term-11": "xen1 n1"}, 11, "xen1"),
        ({"cxm-term-3": ""}, 3, ""),
        ({"cxm-term-": "x", "cxm-term-02": "x", "cxm-term-٣": "x", "cxm-term-9x": "x"}, 0, ""),
        ({"cxm-term-" + "9" * 30: "x", "term-7": "x"}, 0, ""),
    ],
)
def test_the_highest_term_and_who_claimed_it(
    config: dict[str, str], term: int, holder: str
) -> None:
    pool = Pool()
    pool.put("pool", "pool1", POOL, other_config=config)
    seen = pool.seen().pool
    assert (seen.term, seen.term_holder) == (term, holder)


def test_a_host_without_metrics_is_silent_not_absent() -> None:
    pool = Pool()
    pool.drop("host_metrics", "hm1")
    seen = pool.seen()
    assert seen.nodes["u-host1"].live is False
    assert (seen.complete, seen.missing) == (False, ("node/xen1",))


def test_an_unreadable_record_makes_the_picture_incomplete() -> None:
    pool = Pool()
    pool.vm()
    pool.put("vm", "vm1", {"uuid": "u-vm1", "VCPUs_max": {}})
    assert pool.seen().vms == {}
    assert pool.seen().missing == ("vm/u-vm1",)
    assert pool.tables.count("vm") == 1
    pool.put("vm", "vm1", VM)
    assert pool.seen().complete


def test_a_vm_that_becomes_a_template_is_one() -> None:
    pool = Pool()
    pool.vm()
    pool.put("vm", "vm1", VM, is_a_template=True)
    assert pool.seen().vms == {}
    assert [(copy.name, copy.kind) for copy in pool.seen().copies] == [("web1", "template")]
    pool.drop("vm", "vm1")
    assert pool.seen().copies == ()


def test_pool_flags() -> None:
    pool = Pool()
    plain = pool.seen().pool
    assert (plain.ha_enabled, plain.rolling_upgrade, plain.auto_poweron) == (False, False, False)
    flags = {"auto_poweron": "true", "rolling_upgrade_in_progress": "1"}
    pool.put("pool", "pool1", POOL, ha_enabled=True, other_config=flags)
    flagged = pool.seen().pool
    assert (flagged.ha_enabled, flagged.rolling_upgrade, flagged.auto_poweron) == (True, True, True)


def test_a_vm_bears_a_flag_of_its_own_that_the_pool_starts_it() -> None:
    pool = Pool()
    pool.vm()
    assert [vm.auto_poweron for vm in pool.seen().vms.values()] == [False]
    pool.put("vm", "vm1", VM, other_config={"auto_poweron": "true"})
    assert [vm.auto_poweron for vm in pool.seen().vms.values()] == [True]


def test_no_pool_is_no_picture() -> None:
    pool = Pool()
    pool.drop("pool", "pool1")
    assert pool.picture.observed(1.0, 2.0, 0.0) is None


def test_an_operation_is_joined_with_its_task_whichever_comes_first() -> None:
    pool = Pool()
    assert [op.kind for op in pool.vm(current_operations={"t1": "start"}).operations] == ["start"]
    task = {"uuid": "u-t1", "name_label": "Async.VM.start", "status": "pending"}
    pool.put("task", "t1", task, other_config={"cxm:txn": "t"}, progress=0.5)
    (operation,) = pool.seen().vms["u-vm1"].operations
    assert (operation.task, operation.txn, operation.progress) == ("Async.VM.start", "t", 0.5)
    pool.put("task", "t1", task, status="success")
    assert pool.seen().tasks == ()


# --- increments add up ----------------------------------------------------------------------------

KINDS = [cls for cls in CLASSES if cls not in ("pool", "message")]


def invented(cls: str, number: int, chance: random.Random) -> dict[str, Any]:
    """A record of the class that refers to others at random, there or not."""

    def some(other: str, at_most: int = 3) -> list[str]:
        return [f"{other}{chance.randrange(4)}" for _ in range(chance.randrange(at_most))]

    def one(other: str) -> str:
        return f"{other}{chance.randrange(4)}"

    flag = chance.random() < 0.5
    fields: dict[str, dict[str, Any]] = {
        "vm": {
            "power_state": chance.choice(["Running", "Halted", "Suspended"]),
            "resident_on": one("host"),
            "VBDs": some("vbd"),
            "VIFs": some("vif"),
            "metrics": one("vm_metrics"),
            "guest_metrics": one("vm_guest_metrics"),
            "suspend_VDI": one("vdi"),
            "is_control_domain": chance.random() < 0.2,
            "is_a_template": chance.random() < 0.2,
            "domain_type": "hvm",
            "current_operations": dict.fromkeys(some("task", 2), "start"),
            "memory_dynamic_min": chance.randrange(9),
        },
        "vbd": {"VM": one("vm"), "VDI": one("vdi"), "empty": flag},
        "vdi": {"SR": one("sr"), "VBDs": some("vbd")},
        "vif": {"VM": one("vm"), "network": one("network")},
        "network": {"PIFs": some("pif", 2)},
        "host": {
            "metrics": one("host_metrics"),
            "PBDs": some("pbd"),
            "PIFs": some("pif"),
            "current_operations": dict.fromkeys(some("task", 2), "evacuate"),
        },
        "pbd": {"SR": one("sr"), "host": one("host"), "currently_attached": flag},
        "pif": {"network": one("network"), "host": one("host"), "currently_attached": flag},
        "task": {"status": chance.choice(["pending", "success"]), "progress": chance.random()},
        "vm_metrics": {"nomigrate": flag},
        "vm_guest_metrics": {"PV_drivers_detected": flag, "live": not flag},
        "host_metrics": {"live": flag, "memory_total": chance.randrange(9)},
    }
    label = f"{cls} {chance.randrange(3)}"
    return {"uuid": f"u-{cls}{number}", "name_label": label, **fields.get(cls, {})}


def consistent(pool: Pool) -> dict[tuple[str, str], dict[str, Any]]:
    """Back references as a server keeps them: a VM lists its own devices and nobody else's."""
    records = {key: dict(record) for key, record in pool.records.items()}
    for (cls, ref), record in records.items():
        if cls == "vm":
            record["VBDs"] = [r for (c, r), v in records.items() if c == "vbd" and v["VM"] == ref]
            record["VIFs"] = [r for (c, r), v in records.items() if c == "vif" and v["VM"] == ref]
        if cls == "vdi":
            record["VBDs"] = [r for (c, r), v in records.items() if c == "vbd" and v["VDI"] == ref]
        if cls == "host":
            record["PBDs"] = [r for (c, r), v in records.items() if c == "pbd" and v["host"] == ref]
            record["PIFs"] = [r for (c, r), v in records.items() if c == "pif" and v["host"] == ref]
    return records


@pytest.mark.parametrize("seed", range(25))
def test_increments_add_up_to_the_whole(seed: int) -> None:
    """After each batch the picture is what one read of all records would have shown."""
    chance = random.Random(seed)
    pool = Pool()
    for _ in range(40):
        before = dict(pool.records)
        for _ in range(chance.randrange(1, 6)):
            cls, number = chance.choice(KINDS), chance.randrange(4)
            if chance.random() < 0.25:
                pool.records.pop((cls, f"{cls}{number}"), None)
            else:
                pool.records[cls, f"{cls}{number}"] = invented(cls, number, chance)
        after = consistent(pool)
        changes = [(cls, ref, after.get((cls, ref))) for cls, ref in before.keys() | after.keys()]
        pool.change([change for change in changes if before.get(change[:2]) != change[2]])
        assert pool.seen() == pool.afresh()
        assert list(pool.seen().vms) == sorted(pool.seen().vms)
