"""Caveats: what would be in the way when a node dies, told before one does."""

from __future__ import annotations

from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from membership.ledger import FactValue
from membership.proofs import Drill, Tie
from reconciler.accusing import Hearing
from reconciler.caveats import caveats
from reconciler.observed import Pool
from reconciler.report_fencing import bounds
from reconciler.status import Caveat
from schema.model import Daemon, Desired, FenceDevice, FencingPolicy
from tests.core.court import TREE, WEB, facts, hearing, host, knowing, tree

OUTLETS = FenceDevice(name="pdu1", agent="fence_apc_snmp", plugs={"xen3": "7"})


def found(at: Hearing) -> dict[tuple[str, str], Caveat]:
    rows = caveats(knowing(at), at.now)
    return {(row.object, row.reason): row for row in rows if row.reason != "LossOfPower"}


def by_outlet(*levels: tuple[str, ...]) -> Desired:
    """As TREE, but xen3 is fenced by these devices; pdu1 and pdu2 are outlets."""
    node = replace(TREE.nodes["xen3"], bmc=None, fencing="p")
    devices = {name: replace(OUTLETS, name=name) for name in ("pdu1", "pdu2")}
    devices["ilo"] = FenceDevice(name="ilo", agent="fence_ipmilan", plugs={})
    policy = FencingPolicy(name="p", levels=levels)
    return replace(
        TREE, nodes={**TREE.nodes, "xen3": node}, devices=devices, policies={"p": policy}
    )


def test_where_all_is_well_there_is_none() -> None:
    assert found(hearing()) == {}


# --- loss of power -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "proving"),
    [
        ((("ilo",),), ()),
        ((("ilo",), ("pdu1", "pdu2")), ("pdu1", "pdu2")),
        ((("ilo", "pdu1"),), ()),
        ((("pdu1",),), ("pdu1",)),
    ],
)
def test_a_loss_of_power_is_provable_by_what_is_not_in_the_server(
    levels: tuple[tuple[str, ...], ...], proving: tuple[str, ...]
) -> None:
    at = hearing(wished=by_outlet(*levels))
    (row,) = (row for row in bounds(knowing(at)) if row.node == "xen3")
    assert row.without_power == proving
    (told,) = (c.message for c in caveats(knowing(at), at.now) if c.reason == "LossOfPower")
    assert ("xen3" in told) is (not proving)


# --- devices ---------------------------------------------------------------------------------------------


def tried(**more: object) -> dict[tuple[str, str], Caveat]:
    drill = replace(Drill(device="bmc/xen3", node="xen3", host=host("xen3"), message="m"), **more)
    known: dict[str, FactValue] = {"drill__bmc__xen3__xen3": drill}
    return found(hearing(ledger=facts(**known)))


def test_a_device_that_proves_nothing_is_told_with_what_it_lacks() -> None:
    assert tried(power="on", tie=Tie.IDENTITY) == {}
    assert "proves nothing: m" in tried(power="on")["node/xen3", "Unbound"].message
    assert "cable" in tried(power="on", tie=Tie.OTHER)["node/xen3", "Crosswired"].remedy
    assert ("node/xen3", "Unread") in tried(power="unknown", tie=Tie.DRILL)


# --- the pool ----------------------------------------------------------------------------------------------


def pooled(**changes: object) -> dict[tuple[str, str], Caveat]:
    at = hearing()
    pool: Pool = replace(at.observed.pool, **changes)
    vms = {uuid: replace(real, auto_poweron=True) for uuid, real in at.observed.vms.items()}
    return found(with_parts(at, observed=replace(at.observed, pool=pool, vms=vms)))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ha_enabled": True}, "PoolHa"),
        ({"fences_itself": True}, "StorageCluster"),
        ({"auto_poweron": True}, "AutoPowerOn"),
    ],
)
def test_whoever_else_starts_or_fences_is_told(changes: dict[str, object], reason: str) -> None:
    assert list(pooled(**changes)) == [("pool", reason)]


def test_a_grace_that_is_shorter_than_a_boot_is_told() -> None:
    short = tree(recovery={"foreignGrace": "5m"})
    (caveat,) = found(hearing(wished=short)).values()
    assert (caveat.object, caveat.reason) == ("cluster", "Timing")
    assert "300 s" in caveat.message
    assert found(hearing(wished=tree(recovery={"foreignGrace": "10m"}))) == {}


# --- VMs ---------------------------------------------------------------------------------------


def blocking(**operations: str) -> Hearing:
    at = hearing()
    web = replace(at.observed.vms[WEB], blocked_operations=operations)
    return with_parts(at, observed=replace(at.observed, vms={WEB: web}))


def test_an_operation_that_somebody_left_blocked_is_told_before_it_is_needed() -> None:
    (caveat,) = found(blocking(start_on="backup", destroy="x")).values()
    assert (caveat.object, caveat.reason) == ("vm/web1", "OperationBlocked")
    assert "forbid start_on (backup)" in caveat.message
    assert found(blocking(destroy="x")) == {}


def test_a_service_vm_that_may_be_frozen_or_copied_is_told() -> None:
    node = replace(TREE.nodes["xen1"], daemon=Daemon(runs_in="service-vm", vm=WEB))
    own = replace(TREE, nodes={**TREE.nodes, "xen1": node}, vms={})
    at = with_parts(blocking(snapshot="cxm"), desired=own)
    (caveat,) = (row for row in found(at).values() if row.reason == "ServiceVm")
    assert "nothing forbids suspend, checkpoint" in caveat.message
    assert "blocked-operations:suspend=cxm" in caveat.remedy
    safe = with_parts(blocking(snapshot="cxm", suspend="cxm", checkpoint="cxm"), desired=own)
    assert found(safe) == {}
