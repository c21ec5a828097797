"""What people swear and try from the command line: what is asked of the daemon, and how it ends."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from reconciler.messages import Reply
from reconciler.status import DrillStatus, Status
from reconciler.why import Why
from tests.cli import canned
from tests.cli.conftest import Cxm, Script

ASKED = DrillStatus(
    id="D-7-12",
    node="xen2",
    devices=("left",),
    stage="asked",
    by="alice@xen1",
    reason="new cables",
)
TRY = ("fence-drill", "xen2", "--live", "--reason", "new cables")


def drilled(**changes: object) -> Status:
    return replace(canned.CALM, drill=replace(ASKED, **changes))


# --- fence-drill --live ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "exit_", "told"),
    [
        ("bound", 0, "bound"),
        ("crossed", 4, "never believed"),
        ("refused", 4, "not tried"),
        ("lies", 5, "never believed"),
        ("failed", 5, "not bound"),
        ("interrupted", 5, "not bound"),
    ],
)
def test_a_drill_is_followed_to_its_end(
    found: str, exit_: int, told: str, daemon: Script, cxm: Cxm
) -> None:
    daemon.reply = Reply(accepted=True, message=ASKED.id, notes=("left",))
    over = drilled(stage="over", found=found, message="this was seen")
    daemon.statuses = [canned.CALM, drilled(stage="off"), drilled(stage="on", found=found), over]
    ran = cxm(*TRY, "--yes")
    assert (ran.exit, ran.out) == (exit_, f"node/xen2  left: {told}: this was seen\n")
    assert daemon.posted == [
        (
            "/v1/live-drill",
            {"ask": "live-drill", "node": "xen2", "reason": "new cables", "device": ""},
        )
    ]


def test_the_drill_before_it_is_another_one(daemon: Script, cxm: Cxm) -> None:
    daemon.reply = Reply(accepted=True, message="D-7-40", notes=("left",))
    earlier = drilled(stage="over", found="bound")
    daemon.statuses = [earlier]
    ran = cxm(*TRY, "--yes", "--timeout", "1s", "-o", "json")
    assert (ran.exit, ran.envelope["errors"][0]["code"]) == (8, "Timeout")


def test_what_refuses_it_is_told(daemon: Script, cxm: Cxm) -> None:
    daemon.code = 409
    message = "xen2 is not switched off: it is not in maintenance: cxm drain xen2 first"
    daemon.reply = Reply(accepted=False, reason="NotInMaintenance", message=message)
    ran = cxm(*TRY, "--yes")
    assert ran.exit == 4
    assert "cxm drain xen2 first" in ran.err


def test_nobody_is_switched_off_without_a_word(daemon: Script, cxm: Cxm) -> None:
    ran = cxm(*TRY)
    assert (ran.exit, daemon.posted) == (4, [])
    assert "--yes" in ran.err


@pytest.mark.parametrize(
    "line",
    [
        ("fence-drill", "--live", "--reason", "x"),
        ("fence-drill", "xen2", "--live"),
        ("fence-drill", "xen2", "--reason", "x"),
        ("fence-drill", "xen2", "--device", "left"),
    ],
)
def test_what_goes_together(line: tuple[str, ...], daemon: Script, cxm: Cxm) -> None:
    assert (cxm(*line).exit, daemon.posted) == (64, [])


# --- bootstrap ------------------------------------------------------------------------------------------


def test_all_who_are_absent_are_sworn_to_in_one_go(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="node/xen2", known=True)
    daemon.reply = Reply(accepted=True, message="C-7-3: xen2 is dead", notes=("web1 runs again",))
    ran = cxm(
        "bootstrap", "--absent", "xen2", "--absent", "node/xen3", "--reason", "burnt", "--yes"
    )
    assert (ran.exit, ran.out) == (0, "C-7-3: xen2 is dead\n  web1 runs again\n")
    assert daemon.posted == [
        (
            "/v1/bootstrap",
            {
                "ask": "bootstrap",
                "absent": ["xen2", "xen3"],
                "reason": "burnt",
                "against_evidence": False,
            },
        )
    ]


def test_the_same_as_data(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="node/xen2", known=True)
    daemon.reply = Reply(accepted=True, message="C-7-3: xen2 is dead")
    found = cxm("bootstrap", "--absent", "xen2", "--reason", "burnt", "--yes", "-o", "json")
    assert found.envelope["data"] == {
        "nodes": ["xen2"],
        "message": "C-7-3: xen2 is dead",
        "notes": [],
    }


def test_without_a_name_it_says_whom_everything_waits_for(daemon: Script, cxm: Cxm) -> None:
    daemon.code = 409
    daemon.reply = Reply(accepted=False, reason="NotNamed", message="xen3 not here (--absent xen3)")
    ran = cxm("bootstrap", "--reason", "burnt")
    assert ran.exit == 4
    assert "--absent xen3" in ran.err


def test_nobody_is_sworn_to_without_a_word(daemon: Script, cxm: Cxm) -> None:
    daemon.why = Why(object="node/xen2", known=True)
    ran = cxm("bootstrap", "--absent", "xen2", "--absent", "xen3", "--reason", "burnt")
    assert (ran.exit, daemon.posted) == (4, [])
    assert "xen2 xen3 are off, you swear" in ran.err
