"""`cxm diff --what-if`: what is asked, what is shown, how it exits."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from cli.render.status import status_lines
from cli.render.text import plain
from cli.render.whatif import whatif_lines
from reconciler.actions import Rejection
from reconciler.messages import Reply
from reconciler.status import Lack, Survives
from reconciler.striking import DeviceWay, Fate, NodeLoss
from reconciler.whatif import Outcome, Promotion, VmLoss, WhatIf
from tests.cli import canned
from tests.cli.canned import GIB, MOMENT
from tests.cli.conftest import Cxm, Golden, Script

WAY = DeviceWay(device="bmc/xen2", kind="bmc", bound=True, age_s=7200.0, message="reads on")
PROVEN = NodeLoss(
    node="xen2",
    fate=Fate.PROVEN,
    reason="",
    message="powered off by bmc/xen2, and read back",
    remedy="",
    levels=((WAY,),),
    by=("bmc/xen2",),
)
HELD = NodeLoss(
    node="xen3",
    fate=Fate.HELD,
    reason="NoProof",
    message="it has no fence device",
    remedy="cxm confirm-off xen3",
    levels=(),
    master=True,
)
BACK = VmLoss(object="vm/web1", on="xen2", outcome=Outcome.RETURNS, to="xen1")
DOWN = VmLoss(
    object="vm/big1",
    on="xen2",
    outcome=Outcome.DOWN,
    reason="InsufficientMemory",
    message="died with xen2; no node has enough free memory",
    remedy="cxm why vm/big1",
    needs=16 * GIB,
    best=Rejection(node="xen1", reason="InsufficientMemory", needs=16 * GIB, has=11 * GIB),
)
UNPROVEN = VmLoss(
    object="vm/db1",
    on="xen3",
    outcome=Outcome.DOWN,
    reason="NoProof",
    message="xen3 is not proven dead: it has no fence device",
    remedy="cxm confirm-off xen3",
)
LAB = VmLoss(
    object="vm/lab1",
    on="xen2",
    outcome=Outcome.SPARED,
    reason="RecoveryOff",
    message="recovery.enabled is false",
)
ALL = WhatIf(
    down=("xen2", "xen3"),
    nodes=(PROVEN, HELD),
    vms=(BACK, DOWN, UNPROVEN, LAB),
    promotion=Promotion(master="xen3"),
    first_s=42.0,
    last_s=62.0,
    longest_s=380.0,
)


def test_what_is_shown(golden: Golden) -> None:
    golden("what-if", plain(whatif_lines(ALL)))


@pytest.mark.parametrize(
    ("vms", "nodes", "code"),
    [
        ((BACK, LAB), (PROVEN,), 0),
        ((), (replace(HELD, fate=Fate.SPARED),), 0),
        ((BACK, DOWN), (PROVEN,), 2),
        ((DOWN,), (PROVEN,), 2),
        ((UNPROVEN,), (HELD,), 4),
    ],
)
def test_how_it_exits(
    vms: tuple[VmLoss, ...], nodes: tuple[NodeLoss, ...], code: int, daemon: Script, cxm: Cxm
) -> None:
    daemon.what_if = replace(ALL, vms=vms, nodes=nodes)
    assert cxm("diff", "--what-if", "down=node/xen2+xen3").exit == code
    assert daemon.asked[-1] == "/v1/what-if/xen2+xen3"
    found = cxm("diff", "--what-if", "down=xen2+xen3", "-o", "json")
    assert found.exit == code
    assert found.envelope["data"]["whatIf"]["down"] == ["xen2", "xen3"]


@pytest.mark.parametrize("text", ["down", "down=", "up=xen1", "xen1"])
def test_what_it_cannot_be_asked(text: str, daemon: Script, cxm: Cxm) -> None:
    assert cxm("diff", "--what-if", text).exit == 64
    assert daemon.asked == []


def test_it_stands_alone(daemon: Script, cxm: Cxm) -> None:
    assert cxm("diff", "--what-if", "down=xen1", "--cause", "drift").exit == 64
    assert cxm("diff", "web1", "--what-if", "down=xen1").exit == 64
    assert daemon.asked == []


def test_the_daemon_may_not_know(daemon: Script, cxm: Cxm) -> None:
    daemon.what_if = Reply(accepted=False, reason="NotObserved", message="the pool is not seen")
    assert cxm("diff", "--what-if", "down=xen1").exit == 6
    daemon.what_if = Reply(accepted=False, reason="UnknownObject", message="no node xen9")
    assert cxm("diff", "--what-if", "down=xen9").exit == 4


LACK = Lack(
    nodes=("xen2",), vms=3, object="vm/big1", reason="InsufficientMemory", message="no room"
)
SHORT = Survives(losses=1, tolerates=2, lacks=(replace(LACK, nodes=("xen1", "xen2")),))


@pytest.mark.parametrize(
    ("found", "head", "alarm"),
    [
        (Survives(losses=1), "Survives any 1 node", ""),
        (Survives(losses=2, tolerates=2), "Survives any 2 nodes", ""),
        (Survives(losses=1, lacks=(LACK, LACK)), "Survives any 1 node", ""),
        (
            Survives(losses=0, lacks=(LACK, LACK)),
            "Survives no loss of a node",
            "without xen2 3 VMs would stay down (1 more like it): vm/big1 InsufficientMemory",
        ),
        (
            SHORT,
            "Survives any 1 node",
            "InsufficientMemory  (cxm diff --what-if down=xen1+xen2)",
        ),
    ],
)
def test_status_tells_what_is_survived(found: Survives, head: str, alarm: str) -> None:
    text = plain(status_lines(replace(canned.CALM, survives=found), MOMENT))
    assert text.splitlines()[0].endswith(head)
    assert alarm in text
    assert ("would stay down" in text) == bool(alarm)


def test_status_says_nothing_of_it_where_it_is_not_known() -> None:
    text = plain(status_lines(replace(canned.UNKNOWN, survives=Survives(losses=1)), MOMENT))
    assert "Survives" not in text
