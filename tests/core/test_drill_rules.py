"""The rules of the live drill: what forbids it, and which devices are tried."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_parts

import pytest
from msgspec.structs import replace

from fencing.devices import Level, levels
from membership.ledger import FactValue, Freeze, Ledger
from membership.proofs import Drill, Tie
from membership.roster import Voters
from membership.view import Peer, PeerState
from reconciler.accusing import Hearing, accused
from reconciler.drill_rules import Refusal, level_to_try, unfit
from reconciler.observed import Operation
from tests.core.court import NAMES, WEB, host, runs_on
from tests.core.drills import HELD, ON, heard, ledger, readings


def refusal(at: Hearing, powers: Mapping[str, str] = ON, tie: Tie = Tie.NONE) -> str:
    """The word by which xen2 is not tried; "" where it is."""
    node = at.desired.nodes["xen2"]
    real = at.observed.nodes[host("xen2")]
    level = chosen(at)
    assert not isinstance(level, Refusal)
    found = unfit(node, real, level, at, accused(at), readings(at, powers, tie))
    return found.reason if found is not None else ""


def chosen(at: Hearing, device: str = "") -> Level | Refusal:
    return level_to_try(levels(at.desired, "xen2"), device, at.observed.nodes[host("xen2")], at)


# --- what forbids it ------------------------------------------------------------------------------------


def test_a_node_that_is_empty_closed_and_heard_is_tried() -> None:
    assert refusal(heard()) == ""


FROZEN: tuple[str, FactValue] = (
    "freeze/node/xen2",
    Freeze(object="node/xen2", scopes=("fencing",), until_epoch_s=None, reason="a look", by="bob"),
)


@pytest.mark.parametrize(
    ("fact", "reason"), [(HELD, "Held"), (FROZEN, "Frozen")], ids=["hold", "freeze"]
)
def test_what_forbids_fencing_forbids_it(fact: tuple[str, FactValue], reason: str) -> None:
    assert refusal(heard(known=ledger(fact))) == reason


def test_only_in_maintenance() -> None:
    known = Ledger().merge([fact for fact in ledger().facts.values() if fact.key != "drain/xen2"])
    assert refusal(heard(known=known)) == "NotInMaintenance"


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ({"enabled": True}, "Open"),
        ({"enabled": False, "operations": (Operation(kind="VM.start"),)}, "InFlight"),
    ],
)
def test_not_while_the_pool_may_put_anything_there(
    shown: Mapping[str, object], reason: str
) -> None:
    assert refusal(heard(hosts={"xen2": shown})) == reason


def test_not_while_a_vm_is_there_or_may_be() -> None:
    assert refusal(heard(on="xen2")) == "Occupied"
    assert refusal(heard(known=ledger((f"may-run/{WEB}", runs_on("xen2"))))) == "Occupied"


def test_not_the_leader_nor_the_master() -> None:
    at = heard()
    assert refusal(with_parts(at, me="xen2")) == "Oneself"
    master = replace(at.observed.pool, master=host("xen2"))
    assert refusal(with_parts(at, observed=replace(at.observed, pool=master))) == "PoolMaster"


@pytest.mark.parametrize("state", [PeerState.SUSPECT, PeerState.DEAD, PeerState.LEFT])
def test_not_unless_it_is_heard_and_all_others_are(state: PeerState) -> None:
    assert refusal(heard({"xen2": Peer(state=state)})) == "DaemonSilent"
    assert refusal(heard({"xen3": Peer(state=state)})) == "OthersUnwell"


def test_not_where_a_new_boot_could_not_be_told() -> None:
    assert refusal(heard({"xen2": Peer(state=PeerState.ALIVE, sees=NAMES)})) == "NoBoot"


def test_not_where_nobody_would_lead_without_it() -> None:
    at = heard()
    pair = replace(at.view, voters=Voters(epoch=1, names=("xen1", "xen2")))
    assert refusal(with_parts(at, view=pair)) == "TooFewVoters"
    disk = replace(at.view, voters=Voters(epoch=1, names=("xen1", "xen2"), disk=True))
    assert refusal(with_parts(at, view=disk)) == ""


def test_not_by_one_that_may_not_act() -> None:
    assert refusal(with_parts(heard(), acts=False)) == "NotObserved"


@pytest.mark.parametrize(
    ("powers", "reason"),
    [
        ({"left": "on"}, "Unread"),
        ({"left": "on", "right": "off"}, "NotOn"),
        ({"left": "unknown", "right": "on"}, "NotOn"),
    ],
)
def test_not_unless_each_device_says_on(powers: Mapping[str, str], reason: str) -> None:
    assert refusal(heard(), powers) == reason


def test_not_by_a_device_that_names_another_server() -> None:
    assert refusal(heard(), ON, Tie.OTHER) == "Crossed"


def test_what_was_read_long_ago_is_read_again() -> None:
    at = heard()
    node, real, level = at.desired.nodes["xen2"], at.observed.nodes[host("xen2")], chosen(at)
    assert not isinstance(level, Refusal)
    found = unfit(node, real, level, at, accused(at), readings(heard(at_s=-60.0), ON))
    assert found is not None
    assert found.reason == "Unread"


# --- which devices --------------------------------------------------------------------------------------


def names(found: Level | Refusal) -> list[str] | str:
    return found.reason if isinstance(found, Refusal) else [use.device for use in found]


def trial(device: str, tie: Tie) -> tuple[str, FactValue]:
    drill = Drill(device=device, node="xen2", host=host("xen2"), tie=tie)
    return f"drill/{device}/xen2", drill


def test_the_first_level_that_is_not_bound_is_tried() -> None:
    assert names(chosen(heard())) == ["left", "right"]
    tied = [trial("left", Tie.DRILL), trial("right", Tie.DRILL)]
    assert names(chosen(heard(known=ledger(*tied)))) == ["spare"]
    tied.append(trial("spare", Tie.IDENTITY))
    at = heard(known=ledger(*tied))
    assert names(chosen(at)) == "Bound"
    assert names(chosen(at, "right")) == ["left", "right"]
    assert names(chosen(at, "nobody")) == "UnknownDevice"
