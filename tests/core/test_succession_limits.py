"""What a successor must have read before it acts, and what must be known before anything rests on it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from membership.ledger import Hold, SealedSession, TermClaim
from membership.proofs import Unread
from membership.view import PeerState
from reconciler.messages import (
    Announce,
    Announced,
    AskHold,
    ClaimTerm,
    CloseSession,
    Effect,
    Gather,
    Perform,
    SessionEnded,
    SessionOpened,
    Share,
    Tell,
    Tick,
)
from reconciler.patience import ASIDE_S, STUCK_S
from tests.core.members import Member
from tests.core.pair import WAIT_S, Pair
from tests.core.parliament import Parliament, parliament, sitting
from tests.core.stage import desired, loaded, pool
from tests.plan.expansion import REVISION

NODES: dict[str, object] = {"xen1": {}, "xen2": {}}
TREE = desired(nodes=NODES, vms={"web1": {"state": "running"}, "web2": {"state": "running"}})
HALTED = pool(TREE, vms={"web1": {}, "web2": {}})
ROLES = {"roles": ["run", "peer"]}
TWO = desired(nodes={"xen1": ROLES, "xen2": ROLES}, vms={"a": {"state": "running"}})
SEEN = pool(TWO, vms={"a": {}})


def house() -> Parliament:
    return parliament(TREE, HALTED)


def stage(fresh: Parliament, name: str) -> str:
    return fresh[name].alive.status(fresh.now).leadership.stage


def why(fresh: Parliament, name: str) -> str:
    return fresh[name].alive.status(fresh.now).leadership.reason


# --- the ledger of the predecessor --------------------------------------------------------------------


def test_with_three_voters_nobody_acts_on_its_own_ledger_alone() -> None:
    """Bert and cleo know of a hold that anna has never heard of."""
    fresh = house()
    fresh["anna"].cut = True
    fresh.ask("bert", AskHold(reason="smoke", by="root"))
    fresh.elect("anna")
    fresh.pass_s(25.0)
    assert stage(fresh, "anna") == "gather"
    assert "1 of 3 voters, a quorum of 2" in why(fresh, "anna")
    assert fresh.performed == []
    fresh.reconnect("anna")
    fresh.rest()
    assert stage(fresh, "anna") == "acting"
    assert fresh.performed == [], "the hold is known by then"


def test_a_voter_that_is_dead_does_not_keep_the_others_from_acting() -> None:
    fresh = house()
    fresh.kill("cleo")
    fresh.elect("anna")
    fresh.pass_s(12.0)
    assert len(fresh.performed) == 2


def test_a_voter_that_is_alive_is_asked_again_for_a_while() -> None:
    """What only it knows may be had in a moment; a quorum is enough if not."""
    fresh = house()
    fresh["cleo"].cut = True
    fresh.elect("anna")
    fresh.pass_s(10.0)
    assert stage(fresh, "anna") == "gather"
    assert "cleo" in why(fresh, "anna")
    fresh.pass_s(15.0)
    assert stage(fresh, "anna") == "acting"
    assert len([e for e in fresh["anna"].effects if isinstance(e, Gather)]) > 3


def two(*, alive: tuple[str, ...] = ("xen1", "xen2")) -> Pair:
    """xen1 leads in term 3 and has seen the pool since."""
    pair = Pair()
    pair.deaf = {"xen1", "xen2"} - {*alive}
    pair.commit(1, TWO, alive)
    pair.lead("xen1", 3, alive=alive)
    pair.see(SEEN, alive)
    pair.tell("xen1", Tick())
    return pair


def go_on(pair: Pair, name: str) -> None:
    pair.now_s += WAIT_S
    pair.tell(name, Tick())
    for _ in range(4):
        pair.see(SEEN, [name])


def test_of_two_the_one_that_never_heard_its_predecessor_is_held() -> None:
    """Its own ledger knows of an earlier term, but what was begun in term 3 it cannot know."""
    pair = two(alive=("xen1",))
    go_on(pair, "xen1")
    assert pair.nodes["xen1"].calls() == ["StartOn"]
    second = pair.nodes["xen2"]
    old = replace(pair.nodes["xen1"].ledger.facts["term"], term=2)
    second.ledger = second.ledger.merge([old])
    second.wake(pair.now)
    pair.commit(1, TWO, ["xen2"])
    pair.lead("xen2", 4, alive=["xen2"])
    pair.see(SEEN, ["xen2"])
    go_on(pair, "xen2")
    (hold,) = second.ledger.values(Hold)
    assert "term 3" in hold.reason
    assert "none above 2" in hold.reason
    assert second.calls() == []


def test_what_could_not_be_read_is_no_less_lost_when_the_successor_starts_again() -> None:
    """It has told of its own term by then, and must not take that for its predecessor's."""
    pair = Pair()
    pair.commit(1, TWO, ["xen2"])
    pair.said.terms[3] = "xen1 xen1"
    pair.lead("xen2", 4, alive=["xen2"])
    second = pair.nodes["xen2"]
    pair.see(SEEN, ["xen2"])
    pair.tell("xen2", Tick())
    shared = [e.fact.key for e in second.done if isinstance(e, Share)]
    assert shared.index("hold/H-term-3") < shared.index("term")


def test_a_leader_that_died_between_its_claim_and_its_session_is_no_reason_to_hold() -> None:
    fresh = house()
    fresh.elect("anna")
    claims = 0
    while not claims:
        fresh.pass_s(0.3)
        claims = sum(isinstance(e, ClaimTerm) for e in fresh["anna"].effects)
    fresh.kill("anna")
    del fresh["anna"].effects[:]
    for member in fresh.living:
        assert member.ledger.facts["term"].value == TermClaim(node="anna")
    fresh.elect("bert")
    fresh.rest()
    assert fresh["bert"].ledger.holds == ()
    assert len(fresh.performed) == 2


def test_no_term_is_claimed_that_too_few_know_of() -> None:
    class Deaf(Parliament):
        """Nobody acknowledges anything."""

        def _take_over(self, member: Member, effect: Effect) -> None:
            if isinstance(effect, Announce):
                member.events.append(Announced(term=effect.term))
            else:
                super()._take_over(member, effect)

    fresh = Deaf(sitting(TREE, HALTED), tree=loaded(REVISION, TREE))
    fresh.elect("anna")
    fresh.pass_s(20.0)
    assert stage(fresh, "anna") == "announce"
    assert why(fresh, "anna") == (
        "facts are shared with 1 of 3 voters, a quorum of 2 is needed; not yet of bert, cleo"
    )
    assert not [e for e in fresh["anna"].effects if isinstance(e, ClaimTerm)]
    assert fresh["bert"].ledger.facts["term"].value == TermClaim(node="anna")


# --- facts before effects ---------------------------------------------------------------------------------


def cut_off() -> Parliament:
    """Anna acts, and no peer channel reaches anybody, though the heartbeats do."""
    fresh = house()
    fresh.elect("anna")
    while stage(fresh, "anna") != "wait":
        fresh.pass_s(0.5)
    fresh["anna"].cut = True
    fresh.pass_s(25.0)
    return fresh


def test_a_call_that_too_few_know_of_is_not_made_and_not_tried_without_end() -> None:
    fresh = cut_off()
    asked = [e for e in fresh["anna"].effects if isinstance(e, Perform)]
    assert len(asked) == 2
    assert fresh.performed == []
    assert why(fresh, "anna") == "too few know of it"
    waits = {
        action.object: action.waits for action in fresh["anna"].alive.status(fresh.now).plan.actions
    }
    assert all(wait is not None and "too few" in wait.message for wait in waits.values())


def test_such_a_call_is_made_once_enough_have_the_ledger() -> None:
    fresh = cut_off()
    fresh.reconnect("anna")
    fresh.settle()
    fresh.push()
    fresh.rest()
    assert len(fresh.performed) == 2
    assert why(fresh, "anna") == ""


def test_a_leader_whose_facts_nobody_takes_lets_another_one_try() -> None:
    fresh = cut_off()
    fresh.pass_s(STUCK_S)
    assert not fresh["anna"].alive.candidacy().healthy


# --- what comes late ----------------------------------------------------------------------------------------


def test_a_session_that_opens_after_the_lease_is_closed_and_never_told() -> None:
    pair = two()
    before = len(pair.nodes["xen1"].done)
    pair.lead("xen2", 4)
    first = pair.nodes["xen1"]
    first.core.handle(SessionEnded(), pair.now)
    late = first.core.handle(SessionOpened(term=3, sealed="late"), pair.now)
    assert any(isinstance(effect, CloseSession) for effect in late)
    facts = [e.fact.value for e in (*first.done[before:], *late) if isinstance(e, Share)]
    assert SealedSession(node="xen1", sealed="late") not in facts


def test_facts_of_a_term_are_told_in_that_term() -> None:
    """Were they told in a successor's, they would outrank what that one says."""
    pair = two()
    facts = pair.nodes["xen1"].ledger.facts
    assert (facts["term"].term, facts["session"].term) == (3, 3)
    pair.lead("xen2", 4)
    pair.see(SEEN, ["xen1", "xen2"])
    pair.tell("xen2", Tick())
    facts = pair.nodes["xen1"].ledger.facts
    assert facts["term"].value == TermClaim(node="xen2")
    session = facts["session"].value
    assert isinstance(session, SealedSession)
    assert session.node == "xen2"


# --- who leads in vain -----------------------------------------------------------------------------------


def stuck() -> Parliament:
    """Anna leads, and nobody sees the pool."""
    fresh = house()
    fresh.elect("anna")
    return fresh


def wait(fresh: Parliament, seconds: float) -> None:
    until_s = fresh.now_s + seconds
    while fresh.now_s < until_s:
        fresh.now_s += 1.0
        fresh.round(sees=False)


def test_a_leader_that_cannot_act_lets_another_one_try() -> None:
    fresh = stuck()
    anna = fresh["anna"].alive
    wait(fresh, STUCK_S - 2.0)
    assert anna.candidacy().healthy
    wait(fresh, 4.0)
    assert not anna.candidacy().healthy
    fresh.elect("bert")
    wait(fresh, ASIDE_S - 5.0)
    assert not anna.candidacy().healthy
    wait(fresh, 6.0)
    assert anna.candidacy().healthy


def test_each_time_it_stands_aside_for_longer_until_it_has_acted() -> None:
    fresh = stuck()
    anna = fresh["anna"].alive
    wait(fresh, STUCK_S + 2.0)
    fresh.elect("bert")
    wait(fresh, ASIDE_S + 2.0)
    fresh.elect("anna")
    wait(fresh, STUCK_S + 2.0)
    fresh.elect("bert")
    wait(fresh, ASIDE_S + 5.0)
    assert not anna.candidacy().healthy
    wait(fresh, ASIDE_S)
    assert anna.candidacy().healthy
    fresh.elect("anna")
    fresh.rest()
    assert stage(fresh, "anna") == "acting"


@pytest.mark.parametrize("alone", [False, True])
def test_that_a_leader_cannot_act_is_told(alone: bool) -> None:
    fresh = stuck()
    if alone:
        fresh.states.update(dict.fromkeys(("bert", "cleo"), PeerState.DEAD))
        fresh.push()
    wait(fresh, STUCK_S + 2.0)
    told = [e.page for e in fresh["anna"].effects if isinstance(e, Tell)]
    (page,) = [page for page in told if page.key == "cannot-act"]
    assert "anna leads and cannot act: the pool was not observed" in page.title
    assert fresh["anna"].alive.candidacy().healthy is alone
    fresh.states.clear()
    fresh.push()
    fresh.elect("anna")
    fresh.rest()
    told = [e.page for e in fresh["anna"].effects if isinstance(e, Tell)]
    assert [p.severity.value for p in told if p.key == "cannot-act"] == ["critical", "ok"]


# --- what a successor may not have read ---------------------------------------------------------------


def unread(pair: Pair, name: str) -> list[str]:
    return [value.why for value in pair.nodes[name].ledger.values(Unread)]


def test_of_two_a_successor_of_a_dead_one_trusts_no_place_that_it_was_told_of() -> None:
    """What the other made durable last, it may have told nobody."""
    pair = Pair()
    pair.commit(1, TWO, ["xen1", "xen2"])
    pair.lead("xen1", 3)
    pair.see(SEEN, ["xen1", "xen2"])
    go_on(pair, "xen1")
    assert unread(pair, "xen2") == [], "xen2 was here, and was read"
    pair.lead("xen2", 4, alive=["xen2"])
    pair.see(SEEN, ["xen2"])
    pair.tell("xen2", Tick())
    assert unread(pair, "xen2") == ["the ledger of xen1 was not read"]


def test_a_pool_that_has_forgotten_a_term_is_an_older_database() -> None:
    pair = Pair()
    pair.commit(1, TWO, ["xen1", "xen2"])
    pair.lead("xen1", 3)
    pair.see(SEEN, ["xen1", "xen2"])
    go_on(pair, "xen1")
    pair.said.terms.clear()
    pair.lead("xen1", 5)
    pair.see(SEEN, ["xen1", "xen2"])
    go_on(pair, "xen1")
    (why,) = unread(pair, "xen1")
    assert "older" in why
