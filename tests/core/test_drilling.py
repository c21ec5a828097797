"""Drilling: which answers of a fence device are worth anything, and when it is tried."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest
from msgspec.structs import replace as with_fields

from fencing.binding import Identity
from fencing.devices import DeviceUse, Level, levels
from fencing.ladder import Power
from membership.clock import Now
from membership.ledger import Fact, Ledger
from membership.proofs import Drill, Found, Live
from membership.view import Peer, PeerState, View
from reconciler.accusing import Hearing
from reconciler.drilling import AGAIN_S, Drilling, key
from reconciler.journal import JournalState
from reconciler.power import DeviceFound
from reconciler.probing import Probing
from tests.core.stage import desired, pool

TREE = desired(
    cluster={"fencing": {"agent": "fence_ipmilan"}},
    nodes={
        "xen1": {"bmc": "10.0.0.1"},
        "xen2": {"bmc": "10.0.0.2"},
    },
)
USE = DeviceUse(device="bmc/xen2", node="xen2", agent="fence_ipmilan")
OUTLET = DeviceUse(device="pdu", node="xen2", agent="fence_apc_snmp", plug="3")


def hearing(ledger: Ledger | None = None, *, at_s: float = 100.0, serial: str = "S2") -> Hearing:
    seen = pool(TREE)
    nodes = {
        uuid: with_fields(host, serial=serial if host.name == "xen2" else "S1")
        for uuid, host in seen.nodes.items()
    }
    view = View(
        me="xen1",
        term=3,
        leader="xen1",
        lead_until_s=1e9,
        engine="builtin",
        peers={name: Peer(state=PeerState.ALIVE) for name in ("xen1", "xen2")},
    )
    return Hearing(
        me="xen1",
        desired=TREE,
        observed=with_fields(seen, nodes=nodes),
        view=view,
        ledger=ledger if ledger is not None else Ledger(),
        journal=JournalState(),
        probing=Probing(),
        leads=True,
        now=Now(mono_s=at_s, epoch_s=10_000.0 + at_s),
    )


def worth(
    power: str,
    serial: str = "S2",
    *,
    use: DeviceUse = USE,
    level: Level = (),
    at: Hearing | None = None,
) -> tuple[Power, str]:
    at = at if at is not None else hearing()
    host = next(host for host in at.observed.nodes.values() if host.name == "xen2")
    identity = Identity(guid=UUID(int=7).bytes, serial=serial) if use is USE else None
    found = DeviceFound(device=use.device, power=power, identity=identity)
    reading = Drilling().reading(found, use, level or (use,), host, at)
    return reading.power, reading.unbound


def told(drill: Drill) -> Ledger:
    fact = Fact(key=key(drill.device, drill.node), term=1, seq=1, at_epoch_s=0.0, value=drill)
    return Ledger().merge([fact])


def drill(device: str = "bmc/xen2", **changes: object) -> Drill:
    host = next(host for host in pool(TREE).nodes.values() if host.name == "xen2")
    fresh = Drill(device=device, node="xen2", host=host.uuid)
    return with_fields(fresh, **changes)


def test_a_controller_of_another_server_is_never_believed() -> None:
    power, unbound = worth("off", serial="S1")
    assert power is Power.OFF
    assert unbound == "it is xen1's: it says serial number S1, not serial number S2"
    stranger = worth("off", serial="S9")[1]
    assert stranger.startswith("it is another server's: it says serial number S9")


def test_off_says_nothing_of_a_device_that_has_never_said_on() -> None:
    assert "never said on" in worth("off")[1]
    assert worth("on")[1] == ""
    assert worth("off", at=hearing(told(drill(passed=True, passed_epoch_s=1.0))))[1] == ""


def test_what_was_seen_on_once_may_be_believed_off() -> None:
    drilling, at = Drilling(), hearing()
    host = next(host for host in at.observed.nodes.values() if host.name == "xen2")
    identity = Identity(serial="S2")
    for power in ("on", "off"):
        found = DeviceFound(device=USE.device, power=power, identity=identity)
        assert drilling.reading(found, USE, (USE,), host, at).unbound == ""


def test_a_trial_with_another_host_of_that_name_is_none() -> None:
    """A node that was replaced: the drill was of its predecessor."""
    old = with_fields(drill(passed=True, passed_epoch_s=1.0), host="somebody else")
    assert "never said on" in worth("off", at=hearing(told(old)))[1]


def live(found: Found = Found.BOUND, **changes: object) -> Live:
    """What a live drill of the outlet has shown."""
    fresh = Live(
        found=found,
        devices=("pdu",),
        wiring=OUTLET.wiring,
        boot="b1",
        at_epoch_s=9_000.0,
        by="alice",
        message=f"it was {found.value}",
    )
    return with_fields(fresh, **changes)


def tried(shown: Live) -> Hearing:
    return hearing(told(drill("pdu", passed=True, passed_epoch_s=1.0, live=shown)))


def test_an_outlet_is_bound_by_a_live_drill_alone() -> None:
    passed = drill("pdu", passed=True, passed_epoch_s=1.0)
    assert "cxm fence-drill xen2" in worth("off", use=OUTLET, at=hearing(told(passed)))[1]
    assert worth("off", use=OUTLET, at=tried(live()))[1] == ""


def test_another_outlet_in_the_tree_is_not_the_one_that_was_tried() -> None:
    other = with_fields(OUTLET, plug="4")
    assert "not bound" in worth("off", use=other, at=tried(live()))[1]


def test_of_two_that_were_off_together_one_alone_proves_nothing() -> None:
    """The node may live on what the other one gives."""
    other = with_fields(OUTLET, device="pdu-b")
    at = tried(live(devices=("pdu", "pdu-b")))
    assert worth("off", use=OUTLET, level=(OUTLET, other), at=at)[1] == ""
    assert "only with pdu, pdu-b" in worth("off", use=OUTLET, at=at)[1]


@pytest.mark.parametrize("found", [Found.LIES, Found.CROSSED])
def test_what_a_live_drill_showed_to_be_wrong_is_not_believed(found: Found) -> None:
    assert f"it was {found.value}" in worth("off", use=OUTLET, at=tried(live(found)))[1]


def test_nor_is_a_controller_that_names_the_right_server_and_switches_another() -> None:
    shown = live(Found.CROSSED, devices=("bmc/xen2",), wiring=USE.wiring)
    at = hearing(told(drill(passed=True, passed_epoch_s=1.0, live=shown)))
    assert "it was crossed" in worth("off", at=at)[1]


def test_a_device_that_was_mended_is_tried_anew() -> None:
    shown = live(Found.CROSSED, wiring="the old one")
    assert "not bound" in worth("off", use=OUTLET, at=tried(shown))[1]


def test_a_serial_number_that_two_servers_share_binds_nothing() -> None:
    assert "fence-drill" in worth("on", serial="S1", at=hearing(serial="S1"))[1]


def test_a_device_that_cannot_say_is_not_blamed_for_being_unbound() -> None:
    assert worth("unknown", serial="S1") == (Power.UNKNOWN, "")


# --- when it is tried -----------------------------------------------------------------------------------


def due(drilling: Drilling, at: Hearing) -> list[str]:
    host = next(host for host in at.observed.nodes.values() if host.name == "xen2")
    return [use.device for use in drilling.due(levels(TREE, "xen2"), host, at)]


def test_a_device_that_was_never_tried_is_tried_once_and_not_at_every_step() -> None:
    drilling, at = Drilling(), hearing()
    assert due(drilling, at) == ["bmc/xen2"]
    assert due(drilling, at) == []
    assert due(drilling, hearing(at_s=100.0 + AGAIN_S)) == ["bmc/xen2"]


def test_one_that_has_passed_is_tried_again_when_that_is_old() -> None:
    at = hearing()
    fresh = told(drill(passed=True, passed_epoch_s=at.now.epoch_s - 10.0))
    assert due(Drilling(), replace(at, ledger=fresh)) == []
    old = told(drill(passed=True, passed_epoch_s=at.now.epoch_s - USE.drill_s))
    assert due(Drilling(), replace(at, ledger=old)) == ["bmc/xen2"]


def test_what_a_trial_showed_is_noted_and_a_failure_keeps_what_was_known() -> None:
    before = drill(passed=True, passed_epoch_s=5.0, live=live(devices=("bmc/xen2",)))
    at = hearing(told(before))
    host = next(host for host in at.observed.nodes.values() if host.name == "xen2")
    drilling = Drilling()
    found = DeviceFound(device=USE.device, power="unknown", message="no answer in time")
    reading = drilling.reading(found, USE, (USE,), host, at)
    ((name, after),) = drilling.noted([reading], "xen2", host, at)
    assert name == "drill/bmc/xen2/xen2"
    assert after == with_fields(before, passed=False, message="no answer in time")
