"""Two voters: one of them may be dead, and what it has missed by then it must not take for nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from membership.ledger import Fact, Hold, TermClaim
from membership.view import PeerState
from reconciler.messages import AskHold, AskRelease, ClaimTerm, TermClaimed
from reconciler.patience import STUCK_S
from tests.core.parliament import Parliament, sitting
from tests.core.stage import desired, loaded, pool
from tests.plan.expansion import REVISION

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
TREE = desired(nodes=NODES, vms={"web1": {"state": "running"}, "web2": {"state": "running"}})
HALTED = pool(TREE, vms={"web1": {}, "web2": {}})


def house(*, disk: bool = True) -> Parliament:
    return Parliament(
        sitting(TREE, HALTED), names=("anna", "bert"), tree=loaded(REVISION, TREE), disk=disk
    )


def stage(fresh: Parliament, name: str) -> str:
    return fresh[name].alive.status(fresh.now).leadership.stage


def why(fresh: Parliament, name: str) -> str:
    return fresh[name].alive.status(fresh.now).leadership.reason


def until(fresh: Parliament, met: Callable[[], bool]) -> None:
    for _ in range(200):
        if met():
            return
        fresh.pass_s(0.2)
    raise AssertionError("it never comes about")


def announced(*, disk: bool = True) -> Parliament:
    """Anna leads, and bert has heard that it does."""
    fresh = house(disk=disk)
    fresh.elect("anna")
    until(fresh, lambda: stage(fresh, "anna") == "wait")
    return fresh


# --- both are alive -----------------------------------------------------------------------------------


@pytest.mark.parametrize("disk", [True, False])
def test_nothing_is_begun_while_the_other_one_lives_and_takes_no_fact(disk: bool) -> None:
    fresh = announced(disk=disk)
    fresh["bert"].cut = True
    fresh.pass_s(25.0)
    assert fresh.performed == []
    assert fresh.said.alone == {}, "it is not alone"
    fresh.pass_s(STUCK_S)
    (title,) = {page.title for page in fresh["anna"].told if page.key == "cannot-act"}
    assert title.startswith("anna leads and cannot act")


@pytest.mark.parametrize("disk", [True, False])
def test_both_may_take_each_other_for_alive_and_hear_nothing_of_each_other(disk: bool) -> None:
    """Whoever is elected goes on with its own ledger alone in no case."""
    fresh = announced(disk=disk)
    fresh["anna"].cut = True
    fresh.pass_s(10.0)
    for name in ("bert", "anna", "bert"):
        fresh.elect(name)
        fresh.pass_s(40.0)
        assert stage(fresh, name) == "gather"
        assert "1 of 2 voters" in why(fresh, name)
    assert fresh.performed == []
    fresh.reconnect("anna")
    fresh.rest()
    assert len(fresh.performed) == 2
    assert fresh["bert"].ledger.holds == ()


# --- one is dead --------------------------------------------------------------------------------------


def test_who_leads_alone_says_so_in_the_pool_before_it_acts() -> None:
    fresh = announced()
    fresh.kill("bert")
    fresh.push()
    fresh.settle()
    assert fresh.said.alone == {(fresh.term, 1): "anna mark of anna"}
    assert fresh.performed == []
    fresh.rest()
    assert len(fresh.performed) == 2


def test_it_does_not_act_as_long_as_the_pool_does_not_take_it() -> None:
    fresh = announced()
    answer = fresh.said.answer
    fresh.said.answer = lambda claim: answer(  # type: ignore[method-assign]
        ClaimTerm(term=claim.term, mark=claim.mark, within_s=1.0)
    )
    fresh.kill("bert")
    fresh.push()
    fresh.pass_s(40.0)
    assert stage(fresh, "anna") == "mark"
    assert fresh.performed == []


def test_what_was_begun_without_it_the_other_one_does_not_take_for_nothing() -> None:
    """It has heard of anna's term, and of nothing that anna did after it had died itself."""
    fresh = announced()
    fresh.kill("bert")
    fresh.push()
    fresh.rest()
    before = list(fresh.performed)
    fresh.kill("anna")
    fresh.boot("bert")
    fresh.elect("bert")
    fresh.pass_s(40.0)
    (hold,) = fresh["bert"].ledger.holds
    assert hold.id == f"H-term-{fresh.term - 1}.1"
    assert fresh.performed == before


def test_once_it_is_back_and_has_been_told_it_may_succeed() -> None:
    fresh = announced()
    fresh.kill("bert")
    fresh.push()
    fresh.rest()
    fresh.boot("bert")
    fresh.rest()
    told = fresh["bert"].ledger.facts["term"].value
    assert isinstance(told, TermClaim)
    assert told.alone == 1
    fresh.kill("anna")
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert stage(fresh, "bert") == "acting"
    assert fresh["bert"].ledger.holds == ()


def test_each_time_counts() -> None:
    fresh = announced()
    for _ in range(2):
        fresh.kill("bert")
        fresh.push()
        fresh.pass_s(20.0)
        fresh.boot("bert")
        fresh.pass_s(20.0)
    fresh["bert"].cut = True
    fresh.kill("bert")
    fresh.push()
    fresh.pass_s(20.0)
    assert max(fresh.said.alone) == (fresh.term, 3)
    fresh.kill("anna")
    fresh.boot("bert")
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert [hold.id for hold in fresh["bert"].ledger.holds] == [f"H-term-{fresh.term - 1}.3"]


def test_a_leader_that_starts_again_knows_what_it_did_alone_and_goes_on_counting() -> None:
    fresh = announced()
    fresh.kill("bert")
    fresh.push()
    fresh.rest()
    fresh.kill("anna")
    fresh.boot("anna")
    fresh.pass_s(40.0)
    assert stage(fresh, "anna") == "acting"
    assert fresh["anna"].ledger.holds == ()
    assert max(fresh.said.alone) == (fresh.term, 2)


def test_a_leader_in_a_new_term_knows_what_it_did_alone_in_its_last_one() -> None:
    fresh = announced()
    fresh.kill("bert")
    fresh.push()
    fresh.rest()
    fresh.elect(None)
    fresh.pass_s(5.0)
    fresh.elect("anna")
    fresh.pass_s(40.0)
    assert stage(fresh, "anna") == "acting"
    assert fresh["anna"].ledger.holds == ()


def test_without_a_disk_nobody_is_alone() -> None:
    """The engine elects nobody then; were it to, nothing would come of it."""
    fresh = announced(disk=False)
    fresh.kill("bert")
    fresh.push()
    fresh.pass_s(40.0)
    assert fresh.performed == []
    assert fresh.said.alone == {}


# --- gaps ---------------------------------------------------------------------------------------------


def gap(fresh: Parliament, term: int) -> None:
    """Somebody whom nobody has heard claims a term; then anna leads."""
    fresh.said.terms[term] = "somebody else"
    fresh.see()
    fresh.settle()
    fresh.elect("anna")
    fresh.pass_s(20.0)


def standing(fresh: Parliament) -> list[str]:
    return sorted(hold.id for hold in fresh["anna"].ledger.holds)


def test_each_gap_is_held_for_once() -> None:
    fresh = house()
    gap(fresh, 4)
    assert standing(fresh) == ["H-term-4"]
    fresh.ask("anna", AskRelease(id="H-term-4", by="root"))
    fresh.elect("bert")
    fresh.pass_s(20.0)
    assert standing(fresh) == [], "a person has said that it does not matter"
    assert len(fresh.performed) == 2
    gap(fresh, 8)
    assert standing(fresh) == ["H-term-8"]


def test_a_successor_judges_what_its_predecessor_had_missed() -> None:
    """It has heard of that one's term, and not of the hold, be it by whatever loss."""
    fresh = house()
    gap(fresh, 4)
    fresh.kill("anna")
    bert = fresh["bert"]
    fresh.kill("bert")
    facts = [fact for key, fact in bert.ledger.facts.items() if not key.startswith("hold/")]
    bert.ledger = type(bert.ledger)().merge(facts)
    fresh.boot("bert")
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert [hold.id for hold in bert.ledger.holds] == ["H-term-4"]
    assert fresh.performed == []
    claim = bert.ledger.facts["term"].value
    assert isinstance(claim, TermClaim)
    assert claim.unheard == (4, 0), "it is handed on, until somebody releases it"


# --- a higher term ------------------------------------------------------------------------------------


def higher(fresh: Parliament) -> Fact:
    value = TermClaim(node="bert")
    return Fact(key="term", term=fresh.term + 3, seq=99, at_epoch_s=0.0, value=value)


def test_a_leader_that_reads_a_higher_term_is_none() -> None:
    fresh = announced()
    anna = fresh["anna"]
    fresh._take(anna, [higher(fresh)])
    fresh.settle()
    assert not anna.alive.may_act(fresh.now)
    assert not anna.alive.fences(fresh.now)
    fresh.pass_s(40.0)
    assert fresh.performed == []
    assert stage(fresh, "anna") == "lost"
    assert not anna.alive.candidacy().healthy
    assert anna.alive.candidacy().floor == fresh.term + 3
    fresh.elect("anna")
    fresh.pass_s(40.0)
    assert len(fresh.performed) == 2


def test_a_gathering_that_brings_a_higher_term_ends_in_it() -> None:
    fresh = house()
    fresh["bert"].ledger = fresh["bert"].ledger.merge([higher(fresh)])
    fresh.term += 1
    fresh.leader, fresh.acts_from_s = "anna", fresh.now_s
    fresh.push()
    fresh.pass_s(5.0)
    assert stage(fresh, "anna") == "lost"
    assert fresh.performed == []


def test_a_silent_voter_that_is_believed_alive_is_no_dead_one() -> None:
    """Its daemon is gone, and its heartbeats are heard yet."""
    fresh = announced()
    fresh.kill("bert")
    fresh.states["bert"] = PeerState.SUSPECT
    fresh.push()
    fresh.pass_s(20.0)
    assert fresh.performed == []
    fresh.states["bert"] = PeerState.DEAD
    fresh.push()
    fresh.rest()
    assert len(fresh.performed) == 2
    assert not [
        fact for fact in fresh["anna"].ledger.facts.values() if isinstance(fact.value, Hold)
    ]


# --- both live, and hear each other on the disk alone ---------------------------------------------------


def unplug(fresh: Parliament) -> None:
    """Every cable between the two is cut; both reach the pool and the disk."""
    for name in ("anna", "bert"):
        fresh[name].cut = fresh[name].unplugged = True
    fresh.push()


def plug(fresh: Parliament) -> None:
    for name in ("anna", "bert"):
        fresh[name].cut = fresh[name].unplugged = False
    fresh.reconnect("anna")
    fresh.push()


def held(fresh: Parliament, name: str) -> list[str]:
    return [hold.id for hold in fresh[name].ledger.holds]


def test_whoever_the_disk_chooses_leads_alone_and_says_so_first() -> None:
    fresh = announced()
    unplug(fresh)
    fresh.settle()
    assert fresh.said.alone == {(fresh.term, 1): "anna mark of anna"}
    assert fresh.performed == []
    fresh.rest()
    assert len(fresh.performed) == 2
    assert fresh["bert"].ledger.holds == ()


def test_its_successor_does_not_take_what_it_did_for_nothing() -> None:
    fresh = announced()
    unplug(fresh)
    fresh.rest()
    before, reign = list(fresh.performed), fresh.term
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert held(fresh, "bert") == [f"H-term-{reign}.1"]
    assert fresh.performed == before


def test_once_the_cable_is_back_both_know_all_and_either_may_lead() -> None:
    fresh = announced()
    unplug(fresh)
    fresh.rest()
    plug(fresh)
    fresh.rest()
    assert fresh["anna"].ledger.digest == fresh["bert"].ledger.digest
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert stage(fresh, "bert") == "acting"
    assert fresh["bert"].ledger.holds == ()


def test_a_predecessor_that_says_it_only_after_the_look_at_the_pool_is_found_by_the_claim() -> None:
    """The disk promises nothing: bert is elected, and has looked, while a lease of anna's is left."""
    fresh = announced()
    fresh.pass_s(40.0)
    answer = fresh.said.answer
    reign = fresh.term

    def late(claim: ClaimTerm) -> TermClaimed:
        fresh.said.alone[reign, 1] = "anna mark of anna"
        return answer(claim)

    fresh.elect(None)
    unplug(fresh)
    fresh.settle()
    assert fresh.said.alone == {}
    fresh.said.answer = late  # type: ignore[method-assign]
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert held(fresh, "bert") == [f"H-term-{reign}.1"]


def test_a_leader_that_reaches_no_pool_lets_the_other_one_lead_though_no_cable_is_left() -> None:
    """With its management network a node loses the pool and every cable at once."""
    fresh = house()
    fresh.said.answer = lambda claim: TermClaimed(  # type: ignore[method-assign]
        term=claim.term, result="unsure", alone=claim.alone, message="no route"
    )
    fresh.elect("anna")
    unplug(fresh)
    fresh.pass_s(STUCK_S + 10.0)
    assert stage(fresh, "anna") == "claim"
    assert not fresh["anna"].alive.candidacy().healthy


# --- held, by either of them ----------------------------------------------------------------------------


def test_a_hold_at_the_follower_stops_a_leader_that_hears_of_it_on_the_disk_alone() -> None:
    fresh = announced()
    unplug(fresh)
    hold = fresh.ask("bert", AskHold(reason="a look", by="alice")).message
    fresh.push()
    fresh.rest()
    assert held(fresh, "anna") == [hold]
    assert fresh.performed == []


def test_a_hold_at_the_leader_is_known_to_a_successor_that_hears_of_it_on_the_disk_alone() -> None:
    fresh = announced()
    unplug(fresh)
    hold = fresh.ask("anna", AskHold(reason="a look", by="alice")).message
    fresh.push()
    fresh.settle()
    fresh.kill("anna")
    fresh.elect("bert")
    fresh.pass_s(40.0)
    assert hold in held(fresh, "bert")
    assert fresh.performed == []


def test_once_the_cable_is_back_a_hold_is_told_as_it_was_meant() -> None:
    fresh = announced()
    unplug(fresh)
    hold = fresh.ask("bert", AskHold(reason="a look", by="alice")).message
    fresh.push()
    fresh.rest()
    plug(fresh)
    fresh.rest()
    meant = Hold(id=hold, reason="a look", by="alice")
    assert fresh["anna"].ledger.holds == fresh["bert"].ledger.holds == (meant,)


def test_a_hold_that_was_released_does_not_come_back_by_who_has_not_heard_of_that() -> None:
    fresh = announced()
    unplug(fresh)
    hold = fresh.ask("bert", AskHold(reason="a look", by="alice")).message
    fresh.push()
    fresh.settle()
    fresh.ask("anna", AskRelease(id=hold, by="bob"))
    fresh.push()
    fresh.rest()
    assert (held(fresh, "anna"), held(fresh, "bert")) == ([], [hold])
    assert len(fresh.performed) == 2
    plug(fresh)
    fresh.rest()
    assert (held(fresh, "anna"), held(fresh, "bert")) == ([], [])
