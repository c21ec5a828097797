"""What if: what is foretold of nodes that would fall silent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from membership.clock import Now
from membership.ledger import Fact, FactValue, Freeze, Hold, Ledger
from membership.proofs import Attempt, Drill, Lost
from membership.roster import Voters
from membership.view import Peer, PeerState, View, single
from reconciler.accusing import Hearing
from reconciler.journal import JournalState
from reconciler.messages import Reply
from reconciler.observed import Observed
from reconciler.probing import Probing
from reconciler.status import Verdict
from reconciler.striking import Fate
from reconciler.whatif import Outcome, WhatIf, fits, foretold, verdict_of, what_if
from schema.model import Desired
from tests.core.stage import EPOCH_S, desired, pool
from tests.plan.expansion import MONO_S, identity

NAMES = ("xen1", "xen2", "xen3", "xen4")
NOW = Now(mono_s=MONO_S, epoch_s=EPOCH_S)
AGENT = {
    "fencing": {"agent": "fence_ipmilan", "credentialsRef": "bmc", "options": {"lanplus": "1"}}
}
GiB = 1 << 30


MORE = (*NAMES, "xen5", "xen6")


def tree(vms: dict[str, Any], names: tuple[str, ...] = NAMES, **cluster: Any) -> Desired:
    nodes = {
        name: {
            "bmc": f"10.0.0.{number}",
            "roles": ["run", "peer"],
            "heartbeat": {"addresses": [f"10.1.0.{number}"]},
        }
        for number, name in enumerate(names, start=1)
    }
    return desired(cluster={"mode": "auto", **AGENT, **cluster}, nodes=nodes, vms=vms)


def tried(names: tuple[str, ...] = NAMES) -> list[tuple[str, FactValue]]:
    """The trials of the controllers: all passed, a minute ago."""
    return [
        (
            f"drill/bmc/{name}/{name}",
            Drill(
                device=f"bmc/{name}",
                node=name,
                host=identity("host", name),
                passed_epoch_s=EPOCH_S - 60.0,
                passed=True,
                message="reads on",
            ),
        )
        for name in names
    ]


def hearing(
    wanted: Desired, real: Observed, facts: list[tuple[str, FactValue]], view: View | None = None
) -> Hearing:
    known = [
        Fact(key=key, term=1, seq=seq, at_epoch_s=EPOCH_S - 60.0, value=value)
        for seq, (key, value) in enumerate(facts, start=1)
    ]
    return Hearing(
        me="xen1",
        desired=wanted,
        observed=real,
        view=view or everybody(),
        ledger=Ledger().merge(known),
        journal=JournalState(),
        probing=Probing(),
        leads=True,
        now=NOW,
    )


def everybody(count: int = 4) -> View:
    names = MORE[:count]
    peers = {name: Peer(state=PeerState.ALIVE, sees=names) for name in names}
    return View(
        me="xen1",
        term=1,
        leader="xen1",
        lead_until_s=MONO_S + 5.0,
        peers=peers,
        engine="builtin",
        voters=Voters(epoch=1, names=names),
    )


def supposed(*down: str, **more: Any) -> WhatIf:
    """web1 and big1 are on xen2, which dies unless told otherwise."""
    wanted = more.pop("wanted", tree({"web1": {"state": "running"}, "big1": {"state": "running"}}))
    forms = {"web1": {"on": "xen2"}, "big1": {"on": "xen2", "memory": "40GiB"}}
    real = pool(wanted, nodes=more.pop("nodes", None), vms=more.pop("vms", forms))
    facts = more.pop("facts", tried())
    return what_if(hearing(wanted, real, facts, more.pop("view", None)), down or ("xen2",))


def outcomes(found: WhatIf) -> dict[str, tuple[Outcome, str | None, str]]:
    return {row.object: (row.outcome, row.to, row.reason) for row in found.vms}


def test_all_that_fits_comes_back() -> None:
    found = supposed()
    assert [(loss.node, loss.fate, loss.by) for loss in found.nodes] == [
        ("xen2", Fate.PROVEN, ("bmc/xen2",))
    ]
    assert {row.outcome for row in found.vms} == {Outcome.RETURNS}
    assert all(row.to not in (None, "xen2") for row in found.vms)
    assert verdict_of(found) is Verdict.CONVERGED
    assert found.first_s is not None
    assert found.last_s is not None
    assert found.longest_s is not None
    assert found.first_s <= found.last_s
    assert found.first_s < found.longest_s


def test_what_does_not_fit_stays_down_with_its_numbers() -> None:
    small = {name: {"memory": "32GiB"} for name in NAMES} | {"xen2": {"memory": "64GiB"}}
    found = supposed(nodes=small)
    down = next(row for row in found.vms if row.object == "vm/big1")
    assert (down.outcome, down.reason, down.needs) == (
        Outcome.DOWN,
        "InsufficientMemory",
        40 * GiB,
    )
    assert down.best is not None
    assert down.best.has == 32 * GiB
    assert verdict_of(found) is Verdict.DIFFERS


def test_what_was_placed_first_is_counted() -> None:
    """Two that fit alone and not together."""
    small = {name: {"memory": "24GiB"} for name in NAMES} | {"xen2": {"memory": "64GiB"}}
    wanted = tree({name: {"placement": {"only": ["xen1", "xen2"]}} for name in ("a", "b")})
    forms = {name: {"on": "xen2", "memory": "16GiB"} for name in ("a", "b")}
    found = supposed(wanted=wanted, nodes=small, vms=forms)
    assert outcomes(found)["vm/a"] == (Outcome.RETURNS, "xen1", "")
    assert outcomes(found)["vm/b"][0] is Outcome.DOWN


def test_waves_and_what_a_start_comes_after_are_no_hindrance() -> None:
    vms = {
        "db": {"start": {"wave": 10}},
        "app": {"start": {"wave": 20}},
        "web": {"start": {"after": ["vm/app"]}},
    }
    found = supposed(wanted=tree(vms), vms={name: {"on": "xen2"} for name in vms})
    assert verdict_of(found) is Verdict.CONVERGED
    assert found.first_s is not None
    assert found.last_s == found.first_s + 20.0


def test_what_starts_after_a_vm_that_stays_down_waits_for_it() -> None:
    vms = {
        "db": {"state": "running", "placement": {"only": ["xen2"]}},
        "web": {"start": {"after": ["vm/db"]}},
    }
    found = supposed(wanted=tree(vms), vms={name: {"on": "xen2"} for name in vms})
    assert outcomes(found)["vm/db"][0] is Outcome.DOWN
    assert outcomes(found)["vm/web"] == (Outcome.DOWN, None, "Waits")


def test_marks_of_the_dead_on_disks_are_cleared_on_the_way() -> None:
    found = supposed(vms={"web1": {"on": "xen2", "locked_by": ["xen2"]}, "big1": {"on": "xen3"}})
    assert [(row.object, row.outcome) for row in found.vms] == [("vm/web1", Outcome.RETURNS)]


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"recovery": {"enabled": False}}, "RecoveryOff"),
        ({"manage": "observe"}, "Manage"),
        ({"state": "halted"}, "State"),
    ],
)
def test_what_nobody_wants_back_is_told_apart(wish: dict[str, Any], reason: str) -> None:
    found = supposed(wanted=tree({"web1": wish, "big1": {}}))
    assert outcomes(found)["vm/web1"] == (Outcome.SPARED, None, reason)
    assert outcomes(found)["vm/big1"][0] is Outcome.RETURNS
    assert verdict_of(found) is Verdict.CONVERGED


def test_a_vm_in_no_file_is_named_as_the_pool_has_it() -> None:
    found = supposed(wanted=tree({"web1": {}}))
    assert outcomes(found)['"big1"'] == (Outcome.SPARED, None, "Unmanaged")


def test_a_node_with_nothing_to_recover_is_left_alone() -> None:
    found = supposed("xen3")
    assert [(loss.fate, loss.reason) for loss in found.nodes] == [(Fate.SPARED, "NothingToRecover")]
    assert found.vms == ()
    assert verdict_of(found) is Verdict.CONVERGED


def held(**more: Any) -> str:
    """Why the death would not be proven."""
    found = supposed(**more)
    assert verdict_of(found) is Verdict.REFUSED
    assert {row.outcome for row in found.vms} == {Outcome.DOWN}
    assert found.first_s is None
    return found.nodes[0].reason


def test_a_device_that_was_never_tried_proves_nothing() -> None:
    assert held(facts=[]) == "NoProof"


def test_a_device_whose_last_trial_failed_proves_nothing() -> None:
    facts = tried()
    broken = [(key, replace(drill, passed=False)) for key, drill in facts]
    assert held(facts=broken) == "NoProof"


def test_nothing_is_proven_while_something_forbids_it() -> None:
    hold: tuple[str, FactValue] = ("hold/H-1", Hold(id="H-1", reason="look", by="alice"))
    freeze = Freeze(
        object="node/xen2", scopes=("fencing",), until_epoch_s=None, reason="bench", by="bob"
    )
    assert held(facts=[*tried(), hold]) == "Held"
    assert held(facts=[*tried(), ("freeze/node/xen2", freeze)]) == "Frozen"
    assert held(wanted=tree({"web1": {}, "big1": {}}, mode="observe")) == "ClusterMode"


def test_a_budget_that_is_spent_holds_the_next() -> None:
    attempt = Attempt(
        id="F-1",
        node="xen3",
        host=identity("host", "xen3"),
        devices=("bmc/xen3",),
        stage="proven",
        by="xen1",
        why="silent",
    )
    assert held(facts=[*tried(), ("fence/xen3", attempt)]) == "Budget"


def test_who_would_lead_nothing_proves_nothing() -> None:
    assert held(view=everybody(2)) == "NoLeader"
    assert held(view=single("xen1", 1)) == "Alone"


def test_too_many_at_once_are_believed_and_not_shot() -> None:
    """Three voters of five would be left, and more than half of the other servers fell silent."""
    five = everybody()
    five = replace(
        five,
        peers={**five.peers, "yard": Peer(state=PeerState.ALIVE, sees=NAMES)},
        voters=Voters(epoch=1, names=(*NAMES, "yard")),
    )
    found = supposed(
        "xen2", "xen3", vms={"web1": {"on": "xen2"}, "big1": {"on": "xen3"}}, view=five
    )
    assert [loss.reason for loss in found.nodes] == ["Storm", "Storm"]
    assert verdict_of(found) is Verdict.REFUSED


def test_the_loss_of_the_leader_is_noticed_by_another() -> None:
    led = replace(everybody(), leader="xen2")
    ours, theirs = supposed(), supposed(view=led)
    assert verdict_of(theirs) is Verdict.CONVERGED
    assert ours.first_s is not None
    assert theirs.first_s is not None
    assert theirs.first_s > ours.first_s


def test_the_master_is_replaced_first() -> None:
    wanted = tree({"web1": {}})
    real = pool(wanted, vms={"web1": {"on": "xen2"}})
    real = replace(real, pool=replace(real.pool, master=identity("host", "xen2")))
    found = what_if(hearing(wanted, real, tried()), ["xen2"])
    assert found.promotion is not None
    assert (found.promotion.master, found.promotion.candidate) == ("xen2", None)


def test_what_died_there_before_is_among_what_comes_back() -> None:
    """Its record is reset already, so that nothing in the pool ties it to its node any more."""
    wanted = tree({"web1": {"state": "running"}, "big1": {"state": "running"}, "off1": {}})
    real = pool(wanted, vms={"web1": {"on": "xen2"}, "big1": {"power": "Halted"}, "off1": {}})
    lost = Lost(
        vm=identity("vm", "big1"),
        node="xen2",
        host=identity("host", "xen2"),
        certificate="C-1-1",
    )
    at = hearing(wanted, real, [(f"lost/{lost.vm}", lost)])
    rows = {row.object: (row.on, row.outcome) for row in fits(at, ["xen2"])}
    assert rows == {
        "vm/web1": ("xen2", Outcome.RETURNS),
        "vm/big1": ("xen2", Outcome.RETURNS),
    }
    assert fits(at, ["xen3"]) == ()


def test_an_empty_master_is_not_shot_and_keeps_all_that_dies_beside_it_down() -> None:
    """It is only looked at, and its device says on: nothing starts before somebody has it switched off."""
    wanted = tree({"web1": {"state": "running"}}, MORE)
    real = pool(wanted, vms={"web1": {"on": "xen2"}})
    real = replace(real, pool=replace(real.pool, master=identity("host", "xen4")))
    at = hearing(wanted, real, tried(MORE), everybody(6))
    alone = what_if(at, ["xen4"])
    assert [(loss.fate, loss.reason) for loss in alone.nodes] == [(Fate.HELD, "NothingToRecover")]
    assert "reads off already" in alone.nodes[0].message
    assert alone.nodes[0].remedy.startswith("cxm fence xen4")
    both = what_if(at, ["xen2", "xen4"])
    assert outcomes(both)["vm/web1"] == (Outcome.DOWN, None, "NoMaster")
    assert both.first_s is None
    assert outcomes(what_if(at, ["xen2"]))["vm/web1"][0] is Outcome.RETURNS


def test_who_is_no_node_and_what_is_not_seen_are_refused() -> None:
    wanted = tree({})
    real = pool(wanted)
    known = hearing(wanted, real, [])
    stranger = foretold(known, ["xen9"])
    assert isinstance(stranger, Reply)
    assert stranger.reason == "UnknownObject"
    for at in (None, hearing(wanted, replace(real, as_of_s=MONO_S - 60.0), [])):
        blind = foretold(at, ["xen1"])
        assert isinstance(blind, Reply)
        assert blind.reason == "NotObserved"
