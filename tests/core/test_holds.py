"""A hold: from whatever node it comes, it stops all of them, until its own release."""

from __future__ import annotations

import pytest

from membership.ledger import Hold, Withdrawn
from membership.view import PeerState
from reconciler.messages import AskHandOver, AskHold, AskRelease, HandOver
from reconciler.records import Excepted
from tests.core.parliament import NAMES, Parliament, parliament
from tests.core.stage import Stage, desired, pool

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
TREE = desired(nodes=NODES, vms={"web1": {"state": "running"}})
HALTED = pool(TREE, vms={"web1": {}})


def house() -> Parliament:
    return parliament(TREE, HALTED)


def hold(fresh: Parliament, name: str) -> str:
    """The id of a hold that somebody asked this node for."""
    reply = fresh.ask(name, AskHold(reason="smoke", by="root"))
    assert reply.accepted
    return reply.message


@pytest.mark.parametrize("name", NAMES)
def test_a_hold_from_any_node_stops_all(name: str) -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.pass_s(5.0)
    held = hold(fresh, name)
    fresh.pass_s(60.0)
    assert fresh.performed == []
    for member in fresh.living:
        status = member.alive.status(fresh.now)
        assert [row.object for row in status.exceptions if row.kind == "hold"] == [held]
        assert [row.reason for row in status.plan.blocked] == ["Held"]
        assert status.reason == "Held"


@pytest.mark.parametrize("name", NAMES)
def test_its_release_on_any_node_ends_it(name: str) -> None:
    fresh = house()
    held = hold(fresh, "cleo")
    fresh.elect("anna")
    fresh.pass_s(20.0)
    assert fresh.performed == []
    assert fresh.ask(name, AskRelease(id=held, reason="no fire", by="root")).accepted
    fresh.rest()
    assert len(fresh.performed) == 1


def test_a_hold_outlives_restarts_and_leaders() -> None:
    fresh = house()
    held = hold(fresh, "bert")
    for name in NAMES:
        fresh.kill(name)
    for name in NAMES:
        fresh.boot(name)
    for name in (*NAMES, *NAMES):
        fresh.elect(name)
        fresh.pass_s(15.0)
    assert fresh.performed == []
    assert [[h.id for h in member.ledger.holds] for member in fresh.living] == [[held]] * 3


def test_a_hold_that_the_leader_could_not_hear_of_reaches_the_next_one() -> None:
    """Whoever is cut off raises it; once it is heard again nobody begins anything."""
    fresh = house()
    fresh["cleo"].cut = True
    held = hold(fresh, "cleo")
    fresh.reconnect("cleo")
    fresh.elect("anna")
    fresh.pass_s(30.0)
    assert fresh.performed == []
    assert [h.id for h in fresh["anna"].ledger.holds] == [held]


def test_a_release_in_an_older_term_ends_a_hold_that_was_told_again_later() -> None:
    fresh = house()
    held = hold(fresh, "cleo")
    fresh["bert"].cut = True
    assert fresh.ask("cleo", AskRelease(id=held, by="root")).accepted
    fresh.elect("bert")
    fresh.pass_s(15.0)
    assert fresh.performed == [], "bert has not heard of the release yet"
    fresh.reconnect("bert")
    fresh.rest()
    assert len(fresh.performed) == 1


def test_each_hold_needs_its_own_release() -> None:
    fresh = house()
    first = hold(fresh, "anna")
    fresh.pass_s(1.0)
    second = hold(fresh, "bert")
    assert first != second
    assert fresh.ask("anna", AskRelease(id=first, by="root")).accepted
    fresh.elect("anna")
    fresh.pass_s(20.0)
    assert fresh.performed == []
    assert fresh.ask("anna", AskRelease(id=second, by="root")).accepted
    fresh.rest()
    assert len(fresh.performed) == 1


def test_what_is_in_flight_when_the_hold_comes_still_ends() -> None:
    fresh = house()
    fresh.elect("anna")
    while not fresh.performed:
        fresh.pass_s(0.5)
    hold(fresh, "cleo")
    fresh.rest()
    assert fresh.end()[0].startswith("vm/web1 Running")
    for member in fresh.living:
        assert not member.alive.status(fresh.now).in_flight


# --- what becomes of the request itself -----------------------------------------------------------------


def test_a_hold_is_noted_before_it_is_answered() -> None:
    stage = Stage()
    reply = stage.ask(AskHold(reason="smoke", by="root"))
    (raised,) = stage.ledger.holds
    assert (raised.id, raised.reason, raised.by) == (reply.message, "smoke", "root")
    noted = [e for e in stage.entries if isinstance(e, Excepted) and isinstance(e.fact, Hold)]
    assert [entry.message for entry in noted] == ["held by root: smoke"]


def test_two_holds_of_one_node_have_two_ids() -> None:
    stage = Stage()
    ids = {stage.ask(AskHold(reason="smoke", by="root")).message for _ in range(3)}
    assert len(ids) == 3


def test_who_asks_at_the_same_moment_gets_a_hold_of_his_own() -> None:
    stage = Stage()
    ask = AskHold(reason="smoke", by="root")
    first = stage.ask(ask).message
    stage.ask(AskRelease(id=first, by="root"), after_s=0.0)
    others = {stage.ask(ask, after_s=0.0).message for _ in range(2)}
    assert first not in others
    assert {hold.id for hold in stage.ledger.holds} == others
    assert len(others) == 2


def test_a_hold_without_a_reason_is_refused() -> None:
    reply = Stage().ask(AskHold(reason=" ", by="root"))
    assert (reply.accepted, reply.reason) == (False, "NoReason")


def test_only_what_is_held_can_be_released_and_only_once() -> None:
    stage = Stage()
    reply = stage.ask(AskRelease(id="H-1", by="root"))
    assert (reply.accepted, reply.reason) == (False, "NoSuchHold")
    assert "nothing is held" in reply.message
    held = stage.ask(AskHold(reason="smoke", by="root")).message
    assert held in stage.ask(AskRelease(id="H-1", by="root")).message
    assert stage.ask(AskRelease(id=held, by="root")).accepted
    assert stage.ledger.get(f"hold/{held}", Withdrawn) == Withdrawn(by="root")
    assert stage.ask(AskRelease(id=held, by="root")).reason == "NoSuchHold"


# --- handing over ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "to", "reason"),
    [
        ("bert", None, "NotLeader"),
        ("anna", "anna", "LeadsAlready"),
        ("anna", "dora", "UnknownPeer"),
    ],
)
def test_a_hand_over_that_cannot_be_is_refused(asked: str, to: str | None, reason: str) -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.settle()
    reply = fresh.ask(asked, AskHandOver(to=to, by="root"))
    assert (reply.accepted, reply.reason) == (False, reason)


def test_nobody_hands_over_to_the_dead() -> None:
    fresh = house()
    fresh.states["bert"] = PeerState.SUSPECT
    fresh.elect("anna")
    fresh.settle()
    reply = fresh.ask("anna", AskHandOver(to="bert", by="root"))
    assert (reply.reason, reply.message) == ("NotAlive", "bert cannot lead: it is suspect")


def test_where_nobody_else_could_lead_a_hand_over_is_refused_at_once() -> None:
    fresh = house()
    fresh.states.update(bert=PeerState.DEAD, cleo=PeerState.BLIND)
    fresh.elect("anna")
    fresh.settle()
    reply = fresh.ask("anna", AskHandOver(by="root"))
    assert reply.reason == "NobodyElse"
    assert "bert is dead, cleo is" in reply.message


def test_an_unknown_heir_is_told_with_the_peers_there_are() -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.settle()
    assert "bert, cleo" in fresh.ask("anna", AskHandOver(to="dora", by="root")).message


@pytest.mark.parametrize("to", ["bert", None])
def test_the_engine_is_asked_to_hand_over(to: str | None) -> None:
    fresh = house()
    fresh.elect("anna")
    fresh.settle()
    assert fresh.ask("anna", AskHandOver(to=to, by="root")).accepted
    asked = [effect for effect in fresh["anna"].effects if isinstance(effect, HandOver)]
    assert asked == [HandOver(to=to or "")]


def test_a_single_daemon_has_nobody_to_hand_over_to() -> None:
    assert Stage().ask(AskHandOver(by="root")).reason == "Alone"
