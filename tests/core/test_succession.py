"""One leads, the other follows, and goes on where the first one was: nothing twice, nothing lost."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from membership.ledger import FoundedVoters, Hold, Intent, TermClaim
from membership.roster import Voters
from membership.view import Peer, PeerState, View
from reconciler.actions import Done
from reconciler.messages import (
    Announce,
    AskHold,
    AskRelease,
    CallReturned,
    ClaimTerm,
    CloseSession,
    Keep,
    OpenSession,
    Perform,
    RevokeSession,
    SessionEnded,
    Share,
    Stage,
    Staged,
    Tell,
    Tick,
    Write,
)
from reconciler.mustering import change, found, staged
from reconciler.observed import Observed
from reconciler.records import ForeignChange, Intended, LeaderChanged, Targeted, TookOver
from reconciler.takeover import TABLE, Step
from reconciler.takeover import Stage as TakeoverStage
from schema.model import Desired
from tests.core.pair import WAIT_S, Pair
from tests.core.stage import desired, loaded, pool

ROLES = {"roles": ["run", "peer"]}
NODES = {"xen1": ROLES, "xen2": ROLES}
GROWS = {"state": "running", "memory": "2GiB", "restart": "now"}


def tree(**vms: Mapping[str, object]) -> Desired:
    return desired(nodes=NODES, vms=vms)


def real(wanted: Desired, **vms: Mapping[str, object]) -> Observed:
    return pool(wanted, vms=vms)


STARTS = tree(a={"state": "running"})
HALTED = real(STARTS, a={})


def leading(wanted: Desired = STARTS, seen: Observed = HALTED) -> Pair:
    """xen1 leads and acts, of a tree that both have."""
    pair = Pair()
    pair.lead("xen1", 3)
    pair.commit(1, wanted)
    pair.see(seen)
    pair.now_s += WAIT_S
    pair.tell("xen1", Tick())
    pair.see(seen)
    pair.see(seen)
    return pair


def test_the_leader_acts_and_the_follower_looks_on() -> None:
    pair = leading()
    assert pair.nodes["xen1"].calls() == ["StartOn"]
    assert pair.nodes["xen2"].calls() == []
    assert pair.nodes["xen2"].core.status(pair.now).in_flight[0].object == "vm/a"


def test_taking_over_goes_step_by_step_and_waits() -> None:
    pair = Pair()
    pair.commit(1, STARTS)
    pair.lead("xen1", 3)
    pair.see(HALTED)
    pair.tell("xen1", Tick())
    order = (Announce, ClaimTerm, RevokeSession, OpenSession)
    done = pair.nodes["xen1"].done
    assert [type(effect) for effect in done if isinstance(effect, order)] == list(order)
    assert pair.nodes["xen1"].calls() == []
    pair.now_s += WAIT_S
    pair.tell("xen1", Tick())
    assert pair.nodes["xen1"].calls() == []  # Nothing newer than the wait was seen yet.
    pair.see(HALTED)
    pair.see(HALTED)
    assert pair.nodes["xen1"].calls() == ["StartOn"]
    assert TookOver(term=3) in pair.nodes["xen1"].entries
    assert pair.nodes["xen2"].ledger.get("term", TermClaim) == TermClaim(node="xen1")


def test_a_call_is_told_to_all_before_it_is_made() -> None:
    done = leading().nodes["xen1"].done
    at = next(place for place, effect in enumerate(done) if isinstance(effect, Perform))
    told = [place for place, e in enumerate(done) if _tells_intent(e)]
    noted = [place for place, e in enumerate(done) if _notes_intent(e)]
    assert noted[0] < told[0] < at


def _tells_intent(effect: object) -> bool:
    return isinstance(effect, Share) and isinstance(effect.fact.value, Intent)


def _notes_intent(effect: object) -> bool:
    return isinstance(effect, Write) and isinstance(effect.record.entry, Intended)


def test_a_term_that_is_anothers_in_the_pool_leads_to_nothing() -> None:
    pair = Pair()
    pair.said.terms[3] = "xen9 mark"
    pair.lead("xen1", 3)
    pair.commit(1, STARTS)
    pair.now_s += WAIT_S
    pair.see(HALTED)
    pair.see(HALTED)
    core = pair.nodes["xen1"].core
    assert pair.nodes["xen1"].calls() == []
    assert not core.candidacy().healthy
    assert core.candidacy().floor >= 3


def test_a_session_that_was_ended_is_proven_again_before_anything_else() -> None:
    pair = leading()
    pair.said.terms[5] = "xen2 xen2"
    pair.tell("xen1", SessionEnded())
    pair.commit(2, tree(a={"state": "running"}, b={"state": "running"}))
    both = tree(a={"state": "running"}, b={"state": "running"})
    pair.see(real(both, a={"on": "xen1"}, b={}))
    assert pair.nodes["xen1"].calls() == ["StartOn"]
    assert not pair.nodes["xen1"].core.may_act(pair.now)


def test_who_leads_no_more_closes_its_session() -> None:
    pair = leading()
    pair.lead("xen2", 4)
    assert any(isinstance(effect, CloseSession) for effect in pair.nodes["xen1"].done)
    assert not pair.nodes["xen1"].core.may_act(pair.now)


@pytest.mark.parametrize("answered", [False, True])
def test_a_restart_is_gone_on_with_by_the_successor(answered: bool) -> None:
    """The leader is lost between the stop and the start: without its intent the VM would look
    stopped by a stranger, and be left alone."""
    wanted = tree(a=GROWS)
    before = real(wanted, a={"on": "xen1", "memory": "1GiB"})
    pair = leading(wanted, before)
    first = pair.nodes["xen1"]
    assert first.calls() == ["CleanShutdown"]
    (stop,) = [effect for effect in first.done if isinstance(effect, Perform)]
    if answered:
        pair.tell("xen1", CallReturned(txn=stop.txn, answer=Done()))
    halted = real(wanted, a={"memory": "1GiB"})
    pair.lead("xen2", 4, alive=["xen2"])
    pair.now_s += WAIT_S
    pair.tell("xen2", Tick())
    for _ in range(6):
        pair.see(halted, ["xen2"])
    second = pair.nodes["xen2"]
    assert second.calls() == ["SetMemory"]
    assert not any(isinstance(entry, ForeignChange) for entry in second.entries)


def test_what_the_leader_did_is_no_strangers_doing_for_the_follower() -> None:
    pair = leading()
    (start,) = [effect for effect in pair.nodes["xen1"].done if isinstance(effect, Perform)]
    pair.tell("xen1", CallReturned(txn=start.txn, answer=Done()))
    pair.see(real(STARTS, a={"on": "xen1"}))
    pair.see(real(STARTS, a={"on": "xen1"}))
    for node in pair.nodes.values():
        assert not any(isinstance(entry, ForeignChange) for entry in node.entries)
        assert node.core.status(pair.now).verdict == "converged"


def test_an_answer_that_comes_late_outranks_nothing() -> None:
    """A leader was paused; its successor has long started the VM again when the first wakes up."""
    wanted = tree(a=GROWS)
    pair = leading(wanted, real(wanted, a={"on": "xen1", "memory": "1GiB"}))
    first, second = pair.nodes["xen1"], pair.nodes["xen2"]
    (stop,) = [effect for effect in first.done if isinstance(effect, Perform)]
    pair.lead("xen2", 4, alive=["xen2"])
    pair.now_s += WAIT_S
    pair.tell("xen2", Tick())
    for _ in range(6):
        pair.see(real(wanted, a={"memory": "1GiB"}), ["xen2"])
    pair.spread("xen2", tuple(second.ledger.facts.values()))
    key = next(key for key in second.ledger.facts if key.startswith("intent/"))
    latest = second.ledger.get(key, Intent)
    pair.tell("xen1", CallReturned(txn=stop.txn, answer=Done()))
    assert second.ledger.get(key, Intent) == latest
    assert latest is not None
    assert latest.node == "xen2"


# --- one revision for all ---------------------------------------------------------------------------


def test_a_follower_keeps_a_tree_ready_and_waits_for_the_leaders_word() -> None:
    pair = leading()
    wider = tree(a={"state": "running"}, b={})
    pair.commit(2, wider, ["xen2"])
    assert pair.nodes["xen2"].core.status(pair.now).revision.state == "staged"
    assert pair.nodes["xen2"].core.status(pair.now).revision.target == 1
    pair.commit(2, wider, ["xen1"])
    assert pair.nodes["xen2"].core.status(pair.now).revision.target == 2


def test_a_follower_that_does_not_see_subversion_is_given_the_tree() -> None:
    pair = leading()
    wider = tree(a={"state": "running"}, b={})
    pair.commit(2, wider, ["xen1"])
    second = pair.nodes["xen2"]
    wanted = [effect for effect in second.done if isinstance(effect, Stage)]
    assert [stage.target.revision for stage in wanted] == [2]
    pair.tell("xen2", Staged(target=wanted[0].target, tree=loaded(2, wider)))
    assert second.core.status(pair.now).revision.target == 2
    assert [keep.revision for keep in second.done if isinstance(keep, Keep)] == [1, 2]


def test_nobody_goes_back() -> None:
    pair = leading()
    pair.deaf.add("xen2")
    wider = tree(a={"state": "running"}, b={})
    pair.commit(2, wider, ["xen1"])
    pair.deaf.clear()
    pair.lead("xen2", 4)
    pair.now_s += WAIT_S
    pair.see(HALTED)
    pair.see(HALTED)
    targets = [e.revision for e in pair.nodes["xen1"].entries if isinstance(e, Targeted)]
    assert targets == [1, 2]
    assert pair.nodes["xen1"].core.status(pair.now).revision.target == 2


# --- holds ------------------------------------------------------------------------------------------


def test_a_hold_of_any_node_stops_all_until_its_own_release() -> None:
    wanted = tree(a={"state": "running"}, b={"state": "running"})
    pair = Pair()
    pair.lead("xen1", 3)
    pair.commit(1, wanted)
    held = pair.ask("xen2", AskHold(reason="smoke", by="alice"))
    seen = real(wanted, a={}, b={})
    pair.now_s += WAIT_S
    pair.tell("xen1", Tick())
    pair.see(seen)
    pair.see(seen)
    assert pair.nodes["xen1"].calls() == []
    assert not pair.ask("xen1", AskRelease(id="H-none", by="alice")).accepted
    for node in pair.nodes.values():
        node.wake(pair.now)
    pair.lead("xen1", 4)
    pair.commit(1, wanted)
    pair.now_s += WAIT_S
    pair.tell("xen1", Tick())
    pair.see(seen)
    pair.see(seen)
    assert pair.nodes["xen1"].calls() == []
    assert pair.ask("xen1", AskRelease(id=held.message, by="bob")).accepted
    pair.see(seen)
    pair.see(seen)
    assert "StartOn" in pair.nodes["xen1"].calls()


def test_a_pool_that_knows_terms_which_no_ledger_knows_is_held() -> None:
    pair = Pair()
    pair.said.terms[2] = "xen7 older"
    pair.lead("xen1", 3)
    pair.commit(1, STARTS)
    pair.see(HALTED)
    (hold,) = pair.nodes["xen2"].ledger.values(Hold)
    assert "term 2" in hold.reason


# --- telling people -----------------------------------------------------------------------------------


def pages(pair: Pair, key: str) -> dict[str, list[str]]:
    """What each node told people of this alarm."""
    return {
        name: [
            effect.page.severity.value
            for effect in node.done
            if isinstance(effect, Tell) and effect.page.key == key
        ]
        for name, node in pair.nodes.items()
    }


def test_that_it_hears_no_leader_is_told_by_each_node_and_so_is_its_end() -> None:
    pair = leading()
    pair.lead(None, 3)
    pair.now_s += 13.0
    for _ in range(3):
        pair.lead(None, 3)
    assert pages(pair, "no-leader/xen1") == {"xen1": ["critical"], "xen2": []}
    assert pages(pair, "no-leader/xen2") == {"xen1": [], "xen2": ["critical"]}
    for node in pair.nodes.values():
        assert LeaderChanged(leader=None, term=3) in node.entries
    pair.lead("xen2", 4)
    pair.lead("xen2", 4)
    assert pages(pair, "no-leader/xen1") == {"xen1": ["critical", "ok"], "xen2": []}
    assert pages(pair, "no-leader/xen2") == {"xen1": [], "xen2": ["critical", "ok"]}


def test_what_the_leader_tells_its_followers_do_not() -> None:
    pair = leading()
    held = pair.ask("xen2", AskHold(reason="smoke", by="alice")).message
    pair.now_s += 60.0
    pair.lead("xen1", 3)
    assert pages(pair, f"hold/{held}") == {"xen1": ["critical"], "xen2": []}


def test_a_hold_that_the_leader_does_not_hear_of_is_told_by_whoever_has_it() -> None:
    pair = leading()
    pair.deaf = {"xen1"}
    held = pair.ask("xen2", AskHold(reason="smoke", by="alice")).message
    pair.lead("xen1", 3)
    assert pages(pair, f"hold/{held}") == {"xen1": [], "xen2": []}
    pair.now_s += 12.0
    pair.lead("xen1", 3)
    assert pages(pair, f"hold/{held}") == {"xen1": [], "xen2": ["critical"]}


def test_a_hold_beside_a_dead_leader_is_told_by_the_next_one() -> None:
    pair = leading()
    pair.deaf = {"xen1"}
    pair.lead("xen1", 3, alive=("xen2",))
    held = pair.ask("xen2", AskHold(reason="smoke", by="alice")).message
    assert pages(pair, f"hold/{held}")["xen2"] == []
    pair.lead("xen2", 4, alive=("xen2",))
    assert pages(pair, f"hold/{held}")["xen2"] == ["critical"]


def test_a_hold_beside_a_dead_leader_without_a_successor_is_told_all_the_same() -> None:
    pair = leading()
    pair.deaf = {"xen1"}
    pair.lead("xen1", 3, alive=("xen2",))
    pair.now_s += 6.0
    held = pair.ask("xen2", AskHold(reason="smoke", by="alice")).message
    pair.now_s += 5.0
    pair.lead(None, 3, alive=("xen2",))
    assert pages(pair, f"hold/{held}")["xen2"] == ["critical"], "since the leader was lost"


# --- the table and the voters -----------------------------------------------------------------------


def test_only_the_whole_way_leads_to_acting() -> None:
    ways = [
        (stage, step) for (stage, step), after in TABLE.items() if after is TakeoverStage.ACTING
    ]
    assert ways == [(TakeoverStage.WAIT, Step.READY)]
    for stage in TakeoverStage:
        assert TABLE[stage, Step.LEADS_NO_MORE] is TakeoverStage.IDLE


WIDE = desired(nodes={"xen1": ROLES, "xen2": ROLES, "xen3": ROLES})
FIRST = FoundedVoters(
    epoch=1,
    revision=7,
    names=("xen1", "xen2", "xen3"),
    slots={"xen1": 0, "xen2": 1, "xen3": 2},
    addresses={"xen1": (), "xen2": (), "xen3": ()},
)


def seen_by_xen1(epoch: int, *names: str, own: int = 0) -> View:
    """What xen1 sees where only these others are alive, and know this epoch."""
    notes = {"staged": staged(7, "d" * 64)}
    peer = Peer(state=PeerState.ALIVE, notes=notes, voters=(0, epoch))
    peers = dict.fromkeys(("xen1", *names), peer)
    voters = Voters(epoch=own, names=FIRST.names if own else ())
    return View(
        me="xen1",
        term=0,
        leader=None,
        lead_until_s=0.0,
        peers=peers,
        engine="builtin",
        voters=voters,
    )


@pytest.mark.parametrize(
    ("epoch", "others", "founds"),
    [
        (0, ("xen2", "xen3"), True),
        (0, ("xen2",), False),
        (1, ("xen2", "xen3"), False),
    ],
)
def test_a_cluster_is_founded_by_all_or_not_at_all(
    epoch: int, others: tuple[str, ...], founds: bool
) -> None:
    first = found(WIDE, "xen1", seen_by_xen1(epoch, *others), (7, "d" * 64))
    assert first == (FIRST if founds else None)


def test_voters_change_by_one_name_and_only_once_a_quorum_knows_the_last_change() -> None:
    fewer = desired(nodes={"xen1": ROLES, "xen2": {"roles": ["run"]}, "xen3": {"roles": ["run"]}})
    knows = seen_by_xen1(1, "xen2", own=1)
    after = change(fewer, "xen1", knows, FIRST, 8)
    assert after is not None
    assert (after.epoch, after.names) == (2, ("xen1", "xen2"))
    assert change(fewer, "xen1", seen_by_xen1(0, "xen2", own=1), FIRST, 8) is None
    assert change(WIDE, "xen1", knows, FIRST, 8) is None


def test_a_new_voter_takes_a_free_slot_and_only_once_it_is_heard() -> None:
    two = FoundedVoters(epoch=4, revision=7, names=("xen1", "xen3"), slots={"xen1": 0, "xen3": 2})
    heard = change(WIDE, "xen1", seen_by_xen1(4, "xen2", "xen3", own=4), two, 8)
    assert heard is not None
    assert (heard.names, heard.slots["xen2"]) == (("xen1", "xen2", "xen3"), 1)
    assert change(WIDE, "xen1", seen_by_xen1(4, "xen3", own=4), two, 8) is None
